"""All of `copyhold tenant …`."""

from __future__ import annotations

from cli.commands import closing, moving, plans, tenant

app = tenant.app
app.command()(closing.close)
app.command()(closing.export)
app.command()(closing.exports)
app.command()(moving.move)
app.command()(plans.plan)
app.command()(moving.moves)
