"""The audit log: one record for each call, in a file that answers why a document did not reach the LLM."""

from secondpass.audit.file import read_records
from secondpass.audit.log import AuditLog

__all__ = ["AuditLog", "read_records"]
