"""The HTTP API over the read models."""

from projections.api.app import create_app as create_app
from projections.api.positions import IntakeProgress as IntakeProgress
