// Colours the cells by what the widgets say; body of a function that runs at first and whenever one of them changes.
const MISSING = 255
const safe = (text) => String(text).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`)
const wanted = () => features[colour.value]?.[which.active] ?? colourings[colour.value]

async function unpacked(text) {
  const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0))
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"))
  return new Uint8Array(await new Response(stream).arrayBuffer())
}

function explained(paint, steps) {
  const count = new Array(256).fill(0)
  for (const step of steps) count[step]++
  const chip = (ink, name, n) => `<div><i style="background:${ink}"></i>${safe(name)} <small>${n.toLocaleString("en")}</small></div>`
  const missing = count[MISSING] ? chip(grey, paint.missing, count[MISSING]) : ""
  if (paint.names) return paint.names.map((name, k) => chip(paint.palette[k], name, count[k])).join("") + missing
  const [low, high] = [paint.low, paint.high].map((value) => value.toPrecision(3))
  const ramp = paint.palette.filter((_, k) => k % 15 == 0).join()
  return `<div>${safe(paint.unit)}</div><b style="background:linear-gradient(to right,${ramp})"></b>` +
    `<p class="range"><span>${low}</span><span>${high}</span></p>${missing}`
}

async function show() {
  if (cb_obj === search) { // what was searched joins the choices, so that one can go back to it
    const name = search.value
    if (!(name in features)) return
    const known = colour.options[group].filter((other) => other != name)
    colour.options = {...colour.options, [group]: [name, ...known]}
    search.value = ""
    if (colour.value != name) colour.value = name // runs this again
    return
  }
  which.disabled = !(colour.value in features)
  const paint = wanted()
  const steps = await unpacked(paint.data)
  if (paint !== wanted()) return // another was chosen meanwhile
  paint.palette = paint.colours ?? ramp
  const [low, high] = paint.names ? [-0.5, paint.names.length - 0.5] : [0, MISSING - 1]
  mapper.setv({low, high, palette: paint.palette}, {silent: true}) // drawn once, with the values
  below.visible = steps.includes(MISSING)
  source.data.value = steps
  source.tags = [paint]
  source.change.emit()
  legend.text = `<h3>${safe(colour.value)}</h3>${explained(paint, steps)}`
}

return show()
