"""The commands for the shell itself: ``dynatomic completion`` and ``dynatomic man``."""

from typing import Annotated, Literal

from cyclopts import Parameter

from dynatomic.cli.app import app, say, version

# The script of cyclopts only defines a function. These lines make it work in both ways of loading
# it: as the file _dynatomic in $fpath, which zsh runs at the first completion, and by source.
_ZSH = """
if [ "$funcstack[1]" = "_dynatomic" ]; then
  _cyclopts_dynatomic "$@"
else
  compdef _cyclopts_dynatomic dynatomic
fi"""


@app.command
def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(help="Your shell.")],
    /,
) -> int:
    """Print a completion script for the commands and flags."""
    script = app.generate_completion(shell=shell).rstrip("\n")
    return say([script + _ZSH if shell == "zsh" else script])


@app.command
def man() -> int:
    """Print the manual page; show it with `dynatomic man | man -l -`."""
    from dynatomic.cli.man import page  # noqa: PLC0415 -- see `dynatomic.cli.app`

    return say(page(app, version()))
