"""The package `winnow` for `python cli.py` and the processes that it starts: the checkout that this file lies in.

Its folder is put first on the module search path, before any installed copy. See `cli.py`.
"""

from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[3]
__path__ = [str(_CHECKOUT)]
__file__ = str(_CHECKOUT / "__init__.py")
exec(compile(Path(__file__).read_bytes(), __file__, "exec"))
