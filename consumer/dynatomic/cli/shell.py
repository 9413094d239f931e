"""The commands for the shell itself: ``dynatomic completion`` and ``dynatomic man``."""

from typing import Annotated, Literal

from cyclopts import Parameter

from dynatomic.cli.app import app, say, version

# cyclopts defines a function and leaves it at that. This works for both ways of loading it: as a
# file _dynatomic in $fpath, which zsh runs when it is first asked, and through source.
_ZSH = """
if [ "$funcstack[1]" = "_dynatomic" ]; then
  _cyclopts_dynatomic "$@"
else
  compdef _cyclopts_dynatomic dynatomic
fi"""


@app.command
def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(help="The shell to complete in.")],
    /,
) -> int:
    """Print what makes a shell complete dynatomic's commands and flags."""
    script = app.generate_completion(shell=shell).rstrip("\n")
    return say([script + _ZSH if shell == "zsh" else script])


@app.command
def man() -> int:
    """Print the manual page, for man: ``dynatomic man | man -l -``."""
    from dynatomic.cli.man import page  # noqa: PLC0415 -- see `dynatomic.cli.app`

    return say(page(app, version()))
