"""The check that every verb makes of its words before it reads them."""

from __future__ import annotations

from typing import Any, Final

from typer.core import TyperCommand

from orchestrator.errors import ConfigError

_NEXT_STEP: Final = "Is a variable not set? Write a value, or leave it out."


class Verb(TyperCommand):
    """A verb that refuses empty words.

    They come from variables that are not set. ``--ledger ""`` must not mean the usual ledger, nor
    ``--root ""`` the current folder.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # typer hides the class of ctx
        """Read the words of a command line.

        Raises:
            ConfigError: One of them is empty.
        """
        if not ctx.resilient_parsing:  # while the shell completes a line
            self._check(args)
        return super().parse_args(ctx, args)

    def _check(self, args: list[str]) -> None:
        valued = {
            name
            for param in self.params
            if param.param_type_name == "option" and not getattr(param, "is_flag", False)
            for name in param.opts
        }
        for before, word in zip(["", *args], args, strict=False):
            if before == "--":
                break  # the others are arguments, whatever they look like
            option, equals, value = word.partition("=")
            if equals and not value and option in valued and before not in valued:
                raise ConfigError(f"{option}: the value is empty. {_NEXT_STEP}")
            if not word and before in valued:
                raise ConfigError(f"{before}: the value is empty. {_NEXT_STEP}")
        if "" in args:
            raise ConfigError(f"An argument of {self.name} is empty. {_NEXT_STEP}")
