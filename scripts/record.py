"""Record ``make demo`` as an animated SVG: ``record.py FILE``.

The recording is what the demo prints on a terminal of 110 columns. Each line appears at its share of ten seconds; the times
that the demo prints are the real ones. Readers who prefer reduced motion see all lines at once.
"""

import re
import sys
import time
from pathlib import Path

import pexpect
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

WIDTH = 110
SECONDS = 10
PROMPT = "$ make demo"
# The demo's folder, whose name differs each time.
FOLDER = re.compile(r"/\S*demo-\w+")
# What a line of the demo overwrote, and control sequences.
WRITTEN_OVER = re.compile(r".*\r\x1b\[K|\x1b\[[0-9;]*[A-Za-z]")


def record() -> list[tuple[float, str]]:
    """Run the demo; return its lines, each with the seconds after which it came."""
    demo = pexpect.spawn("make", ["demo"], encoding="utf-8", timeout=600, dimensions=(50, WIDTH))
    started, lines = time.monotonic(), []
    while not lines or "Press Ctrl-C" not in lines[-1][1]:
        demo.expect("\r\n")
        line = FOLDER.sub("demo", WRITTEN_OVER.sub("", demo.before))
        lines.append((time.monotonic() - started, line))
    demo.sendintr()
    demo.expect(pexpect.EOF)
    return lines


def draw(lines: list[tuple[float, str]]) -> str:
    """Return the SVG of a terminal on which the lines appear one after another."""
    console = Console(record=True, width=WIDTH, file=open("/dev/null", "w"))  # noqa: SIM115
    total = lines[-1][0]
    delays, row = [], 0
    for seconds, line in [(0, PROMPT), *lines]:
        text = Text(line, "bold" if line == PROMPT else "")
        for _ in text.wrap(console, WIDTH):
            delays.append(
                f'[clip-path*="line-{row})"] {{{{ animation-delay: {seconds / total * SECONDS:.1f}s }}}}'
            )
            row += 1
        console.print(text)
    motion = "text[clip-path] {{ animation: appear 1ms both }} @keyframes appear {{ from {{ opacity: 0 }} }}"
    style = f"@media (prefers-reduced-motion: no-preference) {{{{ {motion} {' '.join(delays)} }}}}\n</style>"
    # Without the fonts of another host.
    form = re.sub(r"@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    return console.export_svg(
        title="ml-ecs-template",
        theme=DIMMED_MONOKAI,
        code_format=form.replace("</style>", style),
        unique_id="demo",
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(draw(record()))
