"""Download one source file, or take it from the mirror, and test its checksum."""

from mmaavi.download import download
from mmaavi.logs import log_to

log_to(snakemake.log[0])
source = snakemake.params.source
download(
    source["path"],
    folder=snakemake.output[0].removesuffix("/" + source["path"]),
    sha256=source.get("sha256"),
    git_blob=source.get("git_blob"),
    url=source.get("url"),
    mirror=snakemake.config["mirror"],  # no param: files are the same from wherever they come
)
