"""What tenants use: the support inbox. It knows one tenant at a time and never where that tenant lives."""

from tenant_app.inbox import Inbox

inbox = Inbox()
"""The app as the platform's settings name it: `tenant_app:inbox`."""

__all__ = ["inbox"]
