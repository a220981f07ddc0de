"""Config files: read with line numbers, validated against a schema, and what is wrong said in a user's words."""

import copy
from collections.abc import Iterator
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator, ValidationError, validators

from .errors import InputError, nearest

Keys = tuple  # keys and positions that lead to a value of a config
TYPES = {
    "string": "text (in quotes if it looks like a number)", "boolean": "true or false", "integer": "a whole number",
    "number": "a number", "array": "a list", "object": "a mapping of keys", "null": "null",
}  # fmt: skip
LIMITS = {
    "minimum": "at least", "exclusiveMinimum": "more than", "minItems": "a list of at least", "maxItems": "a list of at most",
    "minProperties": "a mapping of at least", "uniqueItems": "a list without repeats:", "pattern": "text of the form",
}  # fmt: skip


class _TextKeys(yaml.SafeLoader):
    """Takes every key as the text that it is, and refuses one given twice, of which YAML would silently keep the last.

    Aliases are refused too: a few lines of them can stand for more than memory holds.
    """

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="aliases (*) are not read", problem_mark=self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node, deep=False):
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                problem = f"key '{key.value}' is given twice, first in line {seen[key.value]}"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen[key.value] = key.start_mark.line + 1
            if key.value != "<<":
                key.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)


def read_config(file: str | Path, schema: str | Path) -> dict:
    """A YAML file, validated, with the schema's defaults filled in.

    Raises
    ------
    InputError
        With every problem: file and line, key, what was expected, and the nearest right value.
    """
    try:
        text = Path(file).read_text()
        content = yaml.load(text, _TextKeys)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or error
        raise InputError(f"{file}{where}: {what}; it must be a YAML file") from error
    return checked(content, schema, file)


def checked(content: dict, schema: str | Path, *files: str | Path) -> dict:
    """A copy of ``content`` with the schema's defaults; ``files``, the last one first, say where a key comes from."""
    rules = yaml.safe_load(Path(schema).read_text())
    problems = [f"{_place(files, keys)}{text}" for keys, text in _problems(Draft202012Validator(rules), content)]
    if problems:
        raise InputError("\n".join(problems))
    filled = copy.deepcopy(content)
    _with_defaults(rules).validate(filled)
    return filled


def _with_defaults(rules: dict) -> Draft202012Validator:
    check_properties = Draft202012Validator.VALIDATORS["properties"]

    def fill(validator, properties, instance, schema):
        for name, spec in properties.items():
            if "default" in spec:
                instance.setdefault(name, copy.deepcopy(spec["default"]))
        yield from check_properties(validator, properties, instance, schema)

    return validators.extend(Draft202012Validator, {"properties": fill})(rules)


def _problems(validator: Draft202012Validator, content) -> Iterator[tuple[Keys, str]]:
    """(keys, message) of each problem, the outer ones first."""
    errors = sorted(validator.iter_errors(content), key=lambda e: (len(e.absolute_path), str(e.absolute_path)))
    undecided = {tuple(e.absolute_path)[:-1] for e in errors if e.validator == "enum"}  # their other keys cannot be judged
    for error in errors:
        if error.validator != "unevaluatedProperties" or tuple(error.absolute_path) not in undecided:
            yield from _said(error)


def _said(error: ValidationError) -> Iterator[tuple[Keys, str]]:
    keys, kind, rule, value = tuple(error.absolute_path), error.validator, error.validator_value, error.instance
    name = _dotted(keys)
    if "propertyNames" in error.absolute_schema_path:
        yield (*keys, value), f"'{value}'{_of(name)} cannot be a name here: {error.message}"
    elif kind in ("additionalProperties", "unevaluatedProperties"):
        known = list(_known(error.schema, value))
        for key in value:
            if key not in known:
                yield (*keys, key), f"unknown key '{key}'{_of(name)}; {nearest(key, known)}"
    elif kind == "required":
        for key in rule:
            if key not in value:
                yield keys, f"{name or 'the file'} lacks '{key}'"
    elif kind == "oneOf":
        alternatives = [option["required"] for option in rule]
        given = any(set(names) <= set(value) for names in alternatives)
        wanted = " or ".join(" and ".join(f"'{n}'" for n in names) for names in alternatives)
        yield keys, f"{name or 'the file'} needs {'just one of' if given else 'one of'} {wanted}"
    elif kind == "not":
        yield keys, f"{name} has both {' and '.join(repr(n) for n in rule['required'])}; give one of them"
    elif kind == "enum":
        yield keys, f"'{name}' is '{value}'; {nearest(value, rule)}"
    elif kind == "type":
        kinds = [rule] if isinstance(rule, str) else rule
        yield keys, f"'{name or 'the file'}' is {_shown(value)}; it must be {' or '.join(TYPES[k] for k in kinds)}"
    else:
        hint = error.schema.get("description", "")
        advice = f" ({hint})" if hint else ""
        yield keys, f"'{name}' is {_shown(value)}; it must be {LIMITS[kind]} {rule}{advice}"


def _known(schema: dict, value: dict) -> Iterator[str]:
    """Keys that an object may have: those of the schema, and of its conditions that hold."""
    yield from schema.get("properties", {})
    for part in schema.get("allOf", []):
        if Draft202012Validator(part.get("if", {})).is_valid(value):
            yield from part.get("then", part).get("properties", {})


def _of(name: str) -> str:
    return f" in '{name}'" if name else ""


def _shown(value) -> str:
    text = "null" if value is None else f"'{value}'" if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _dotted(keys: Keys) -> str:
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else str(key)
    return text


def _place(files: tuple, keys: Keys) -> str:
    """The file and line of a value, or of the nearest thing around it: '<file>, line <n>: '."""
    for file in files:
        try:
            node = yaml.compose(Path(file).read_text(), yaml.SafeLoader)
        except (OSError, yaml.YAMLError):
            continue
        line, depth = _line(node, keys)
        if depth or not keys:
            return f"{file}, line {line}: "
    return f"{files[0]}: " if files else ""


def _line(node: yaml.Node, keys: Keys) -> tuple[int, int]:
    """The line of the deepest part of the keys that the node has, and how deep that is."""
    line, depth = (node.start_mark.line + 1 if node else 1), 0
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            inner = next(((k, v) for k, v in node.value if k.value == str(key)), None)
            if inner is None:
                break
            line, node = inner[0].start_mark.line + 1, inner[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            line = node.start_mark.line + 1
        else:
            break
        depth += 1
    return line, depth
