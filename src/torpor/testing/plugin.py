"""The plug-in of pytest (entry point ``torpor``): the fixture ``torpor_audit`` and the marker ``torpor``."""

from __future__ import annotations

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from torpor.testing.cached import CachedAudits


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", "torpor: audits what inputs can make a target cost, which may take long")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test that uses the fixture, so that ``-m "not torpor"`` leaves it out."""
    for item in items:
        if "torpor_audit" in getattr(item, "fixturenames", ()):
            item.add_marker("torpor")


@pytest.fixture(scope="session")
def torpor_audit(tmp_path_factory: pytest.TempPathFactory) -> CachedAudits:
    """Return :func:`torpor.audit` for tests: an audit that several of them ask for is run once."""
    from torpor.testing.cached import CachedAudits  # only tests that audit pay for torch

    return CachedAudits(tmp_path_factory.mktemp("torpor"))
