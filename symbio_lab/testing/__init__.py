"""For authors of plugins: tiny models of both task types, and the contracts of strategies, methods and worlds.

The lab's own tests run the same checks. Example, in a test of a package that registers a surgery method::

    from symbio_lab.testing import TinyModels, check_surgery

    def test_my_method_keeps_the_contract(tmp_path):
        check_surgery(MyMethod, TinyModels(tmp_path))
"""

from symbio_lab.testing.strategies import check_strategy
from symbio_lab.testing.surgery import check_surgery
from symbio_lab.testing.tiny_models import TinyModels
from symbio_lab.testing.worlds import check_world_family

__all__ = ["TinyModels", "check_strategy", "check_surgery", "check_world_family"]
