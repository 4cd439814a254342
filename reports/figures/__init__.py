"""The figures of a report: drawn once from runs, saved as SVG, PNG and PDF."""

from reports.figures.every import figures as figures
from reports.figures.saving import FORMATS as FORMATS
from reports.figures.saving import Figure as Figure
