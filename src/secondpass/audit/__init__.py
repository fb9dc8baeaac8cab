"""The audit log: a record of each call, which answers why a document did not reach the LLM."""

from secondpass.audit.file import read_records
from secondpass.audit.log import AuditLog

__all__ = ["AuditLog", "read_records"]
