"""Fixtures that the tests of both integrations share."""

from integration_support import integration, loader, separate_models

__all__ = ["integration", "loader", "separate_models"]
