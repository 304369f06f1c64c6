"""Names for tests/bench/hostile_names.py: each of them is known to break programs."""

HIT = "document.title='hit'"

QUOTES = ("'", '"', "`", "''", '""', "a'b", 'a"b', "a`b", "\\'", '\\"', "“a”", "\\", "a\\b")
SHELL = (
    "$(id)", "`id`", "${HOME}", "$HOME", "; id", "| id", "a && id", "> x", "< x", "!", "!!", "*",
    "?", "[a]", "{a,b}", "~", "~root", "#", "a#b", "a?b", "a&b", "(a)", "a;b",
)  # fmt: skip
FORMATS = (
    "%s", "%d%n", "%(name)s", "{0}", "{name}", "{{x}}", "%", "%%", "100%", "%00", "%0a", "%2e%2e",
)  # fmt: skip
CONTROL = (
    "\n", "a\nb", "a\r\nb", "a\rb", "\t", "a\tb", "\0", "a\0b", "\x1b[31m", "\x07", "\x7f", "\x85",
    "\u2028", "a\u2029b", "\x1c",
)  # fmt: skip
INVISIBLE = (
    "\u202eabc", "a\u200fb", "\u2066a\u2069", "\u061c", "\u202e", "אבג", "مرحبا", "\u200b",
    "a\u200bb", "\u200d", "\ufeff", "\ufeffa", "\u2060", "\u00ad", "a\u00adb",
)  # fmt: skip
RARE = (
    "🙂", "👩‍👩‍👧", "🏳️‍🌈", "🇩🇪", "𝕏", "日本語", "हिन्दी", "ไทย",
    "Z\u0338a\u0335l\u0334", "\U0010ffff", "\ufffe", "\ue000", "\ufffd", "\ud800", "a\udcffb",
)  # fmt: skip
LONG = ("x" * 100, "x" * 101, "x" * 255, "x" * 300, "é" * 300, "🙂" * 300, "a b " * 75, "x" * 6000)
DASHES_AND_DOTS = (
    "-", "--", "-x", "--help", "--to=x", "-1", "—", ".", "..", "...", ".hidden", "a.", "a..b", "_",
)  # fmt: skip
PATHS = (
    "../x", "../../etc/passwd", "/etc/passwd", "..\\x", "a/../b", "a/b", "/", "//", "C:\\x", "x/",
    "file:///etc/passwd", "a:b", ":", "runs:/x", "http://127.0.0.1:1/x", "sqlite:///x",
)  # fmt: skip
SQL = (
    "'; drop table runs; --", "' or '1'='1", "x' -- ", '" or 1=1', "1;--", "%' --", "a'''b",
)  # fmt: skip
HTML = (
    "<b>", "<b>x</b>", f"<script>{HIT}</script>", f"</script><script>{HIT}</script>",
    f'<img src=x onerror="{HIT}">', f'"><img src=x onerror="{HIT}">', "<!--", "-->", "]]>",
    f'<svg/onload="{HIT}">', "&lt;", "&amp;", "&#0;", f"javascript:{HIT}",
    f'" onmouseover="{HIT}', f"' onclick='{HIT}", "</style>", "</title>", "</svg>", "<a", "</",
)  # fmt: skip
MARKDOWN = (
    "|", "a|b", "**b**", "[x](javascript:1)", "![x](http://127.0.0.1:1/x.png)", "# h", "```", "~~~",
)  # fmt: skip
YAML_AND_JSON = (
    "on", "off", "yes", "no", "null", "true", "False", "1", "0", "007", "1e3", ".inf", ".nan",
    "12:30", "0x1f", "2026-01-01", "[]", "{}", "a: b", "a #b", "- a", "? a", "&a", "*a",
    "!!python/object/apply:os.system [id]", ">", "@a", "<<", "=", "mean", '{"a": 1}', "\\u0041",
    "NaN", "None",
)  # fmt: skip
MATHTEXT = (
    "$", "$$", "$x$", "$\\frac$", "$\\frac{1}{2}$", "a$b", "a$b$c", "\\$", "$\\bad$", "x_y^z",
    "$_{$", "\\alpha", "^", "_x_",
)  # fmt: skip
NEARLY_EQUAL = (
    "caf\u00e9", "cafe\u0301", "Straße", "STRASSE", "ﬁ", "fi", "\uff21", "A", "a", "\u212a", "K",
    "İ", "ı", "ς", "Σ", "\u212b", "\u00c5",
)  # fmt: skip
BLANKS = ("", " ", " a", "a ", "  ", "\u00a0", "\u3000", "a  b")
RESERVED = (
    "con", "nul", "default", "Default", "__class__", "__proto__", "constructor", "student", "score",
    "error", "id",
)  # fmt: skip

NAMES = tuple(
    dict.fromkeys(
        QUOTES + SHELL + FORMATS + CONTROL + INVISIBLE + RARE + LONG + DASHES_AND_DOTS + PATHS
        + SQL + HTML + MARKDOWN + YAML_AND_JSON + MATHTEXT + NEARLY_EQUAL + BLANKS + RESERVED
    )
)  # fmt: skip
