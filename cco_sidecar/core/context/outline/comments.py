"""How the lines that are left out are named in what is left."""

_HASH = "python ruby shell r perl julia elixir nim yaml toml ini hcl nix cmake make docker graphql powershell"
_SLASHES = (
    "javascript typescript go rust java kotlin scala groovy swift objective-c c c++ c# f# dart php zig apex solidity "
    "protobuf prisma"
)
_BY_MARK = {"# ": _HASH, "// ": _SLASHES, "-- ": "sql lua haskell", "% ": "erlang tex", "; ": "clojure assembly"}
_AROUND = {
    **{language: (mark, "") for mark, languages in _BY_MARK.items() for language in languages.split()},
    **dict.fromkeys(("html", "markdown", "xml", "vue", "svelte", "svg"), ("<!-- ", " -->")),
    "css": ("/* ", " */"),
    "ocaml": ("(* ", " *)"),
    "restructuredtext": (".. ", ""),
    "visual-basic": ("' ", ""),
    "fortran": ("! ", ""),
}


def omission_line(language: str, first: int, last: int) -> str:
    """Make the line that stands for the lines ``first`` to ``last`` (from 1), a comment where the language has them."""
    before, after = _AROUND.get(language, ("", ""))
    what = f"line {first}" if first == last else f"lines {first}–{last}"  # noqa: RUF001
    return f"{before}… {what} omitted{after}\n"
