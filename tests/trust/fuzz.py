"""Run by hand: python tests/trust/fuzz.py SECONDS [PARSER]; atheris looks for inputs that break a parser.

It needs the package atheris, which is not among the tests' requirements. What it finds is printed with the input.
"""

import importlib.util
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def import_pack() -> None:
    """The pack as `pack`, as tests/conftest.py has it; no ComfyUI is needed."""
    sys.path.insert(0, str(ROOT / "tests"))
    spec = importlib.util.spec_from_file_location("pack", ROOT / "__init__.py")
    assert spec and spec.loader
    sys.modules["pack"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["pack"])


def main() -> None:
    atheris: Any = importlib.import_module("atheris")
    seconds, chosen = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
    with atheris.instrument_imports(include=["pack"]):
        import_pack()
        from trust.parsers import FILES, TEXTS, feed_file, feed_text

    known = [chosen] if chosen else [*TEXTS, *FILES]

    def one(content: bytes) -> None:
        data = atheris.FuzzedDataProvider(content)
        name = known[data.ConsumeIntInRange(0, len(known) - 1)]
        if name in TEXTS:
            feed_text(name, data.ConsumeUnicode(data.remaining_bytes()))
        else:
            feed_file(name, data.ConsumeBytes(data.remaining_bytes()))

    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", "-max_len=4096", "-rss_limit_mb=4096"], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
