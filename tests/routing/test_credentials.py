"""Keys, cookies and tickets at the door: genuine, of this tenant, of this purpose and in time, or refused alike."""

from __future__ import annotations

import base64
import os
import time
from uuid import UUID, uuid4

import httpx
import pytest

from control_plane.domain.route import Role
from control_plane.domain.tenant import Status
from control_plane.keyring import Keyring
from control_plane.registry import keys as key_queries
from control_plane.registry.engine import transaction
from control_plane.routing.credentials import (
    COOKIE,
    KeyRefusedError,
    SessionRefusedError,
    SignedClaim,
    Signer,
    TicketRefusedError,
    new_key,
    parse_key,
    session_signer,
    ticket_signer,
)
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.routing.hands import set_status
from tests.waiting import until

KEYRING = Keyring(bytes(range(32)))
TENANT, SUBJECT, NONCE = UUID(int=1), UUID(int=2), UUID(int=3)


def claim(*, tenant: UUID = TENANT, life_s: int = 60) -> SignedClaim:
    return SignedClaim(tenant_id=tenant, subject=SUBJECT, nonce=NONCE, expires=int(time.time()) + life_s)


def test_a_claim_is_read_back() -> None:
    for signer in (session_signer(KEYRING), ticket_signer(KEYRING)):
        assert signer.read(signer.sign(given := claim())) == given


def tampered(text: str) -> list[str]:
    raw = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    found = []
    for position in range(len(raw)):
        changed = bytearray(raw)
        changed[position] ^= 1
        found.append(base64.urlsafe_b64encode(bytes(changed)).decode().rstrip("="))
    return found


@pytest.mark.parametrize(
    ("signer", "refused"),
    [(session_signer(KEYRING), SessionRefusedError), (ticket_signer(KEYRING), TicketRefusedError)],
)
def test_a_claim_that_was_changed_cut_or_made_up_is_refused(signer: Signer, refused: type[Exception]) -> None:
    text = signer.sign(claim())
    made_up = ["", "=", "a", "é", "x" * 117, text[:-1], text[:-4], text + "AAAA", text * 2, "A" * len(text), "\0"]
    for forged in (*tampered(text), *made_up, *(text[:kept] for kept in range(0, len(text) - 1, 9))):
        with pytest.raises(refused):
            signer.read(forged)


def test_a_claim_past_its_time_is_refused() -> None:
    signer = session_signer(KEYRING)
    for life_s in (0, -1, -(10**6)):
        with pytest.raises(SessionRefusedError):
            signer.read(signer.sign(claim(life_s=life_s)))


def test_a_claim_of_another_purpose_or_platform_is_refused() -> None:
    with pytest.raises(TicketRefusedError):
        ticket_signer(KEYRING).read(session_signer(KEYRING).sign(claim()))
    with pytest.raises(SessionRefusedError):
        session_signer(KEYRING).read(ticket_signer(KEYRING).sign(claim()))
    with pytest.raises(SessionRefusedError):
        session_signer(KEYRING).read(session_signer(Keyring(os.urandom(32))).sign(claim()))


def test_a_key_tells_its_tenant_and_the_hash_of_its_secret() -> None:
    text, digest = new_key(TENANT)
    assert parse_key(text) == (TENANT, digest)
    assert text.split("_", 2)[2] not in digest


@pytest.mark.parametrize(
    "change",
    [
        lambda key: "",
        lambda key: key[:-1],
        lambda key: key + "x",
        lambda key: key.upper(),
        lambda key: key.replace("ch_", "ch-", 1),
        lambda key: " " + key,
        lambda key: key + "\n",
        lambda key: key[:3] + "g" + key[4:],
        lambda key: key.replace(key[3], "٣", 1),
    ],
)
def test_what_is_no_key_is_refused(change: object) -> None:
    assert callable(change)
    with pytest.raises(KeyRefusedError):
        parse_key(change(new_key(TENANT)[0]))


def me(platform: PlatformUnderTest, host: str, **headers: str) -> httpx.Response:
    return httpx.get(f"{platform.url}/api/me", headers={"Host": host, **headers})


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_a_key_opens_its_own_tenants_host_and_the_control_host_alone(
    platform: PlatformUnderTest, pool_tenant: TenantUnderTest, silo_tenant: TenantUnderTest
) -> None:
    mine = bearer(pool_tenant.key)
    assert me(platform, pool_tenant.host, **mine).status_code == 200
    assert me(platform, f"localhost:{platform.port}", **mine).status_code == 200
    foreign = me(platform, silo_tenant.host, **mine)
    unknown = me(platform, silo_tenant.host, **bearer(new_key(uuid4())[0]))
    wrong = me(platform, silo_tenant.host, **bearer(new_key(silo_tenant.id)[0]))
    assert {answer.status_code for answer in (foreign, unknown, wrong)} == {401}
    assert foreign.json() == unknown.json() == wrong.json()


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_read_whatever_its_letters(
    platform: PlatformUnderTest, pool_tenant: TenantUnderTest, scheme: str
) -> None:
    assert me(platform, pool_tenant.host, Authorization=f"{scheme} {pool_tenant.key}").status_code == 200


@pytest.mark.parametrize("header", ["Bearer", "Basic {key}", "{key}", "Bearer x {key}", "Bearer {key}x"])
def test_a_header_that_holds_no_key_lets_nobody_in(
    platform: PlatformUnderTest, pool_tenant: TenantUnderTest, header: str
) -> None:
    shown = header.format(key=pool_tenant.key)
    assert me(platform, pool_tenant.host, Authorization=shown).status_code == 401


def test_a_revoked_key_is_refused_like_an_unknown_one(
    platform: PlatformUnderTest, pool_tenant: TenantUnderTest
) -> None:
    key = pool_tenant.key_with(Role.MEMBER)
    until(lambda: me(platform, pool_tenant.host, **bearer(key)).status_code == 200, what="the key is known")
    with transaction(platform.engine) as session:
        ours = [row for row in key_queries.of_tenant(session, pool_tenant.id) if row.secret_sha256 == parse_key(key)[1]]
        key_queries.revoke(session, ours[0].id)
    until(lambda: me(platform, pool_tenant.host, **bearer(key)).status_code == 401, what="it is revoked")
    unknown = me(platform, pool_tenant.host, **bearer(new_key(pool_tenant.id)[0]))
    assert me(platform, pool_tenant.host, **bearer(key)).json() == unknown.json()


def test_what_a_tenant_is_like_is_told_to_who_has_a_key_of_it_alone(platform: PlatformUnderTest) -> None:
    tenant = platform.tenant("pool")
    set_status(tenant, Status.SUSPENDED)
    try:
        until(lambda: me(platform, tenant.host, **bearer(tenant.key)).status_code == 403, what="it is suspended")
        stranger = me(platform, f"localhost:{platform.port}", **bearer(new_key(tenant.id)[0]))
        assert stranger.status_code == 401
    finally:
        set_status(tenant, Status.ACTIVE)


def cookie(platform: PlatformUnderTest, tenant: TenantUnderTest, **changes: int) -> dict[str, str]:
    """A cookie that the platform has signed, for a session that there is not."""
    signed = session_signer(platform.keyring).sign(claim(tenant=tenant.id, **changes))
    return {"Cookie": f"{COOKIE}={signed}"}


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_a_genuine_cookie_without_its_session_is_no_sign_in(
    platform: PlatformUnderTest, pool_tenant: TenantUnderTest
) -> None:
    assert me(platform, pool_tenant.host, **cookie(platform, pool_tenant)).status_code == 401


@pytest.mark.parametrize("forgery", ["other key", "ticket", "expired", "other tenant", "cut", "empty", "twice"])
def test_a_cookie_that_is_not_this_tenants_session_is_refused(
    platform: PlatformUnderTest, pool_tenant: TenantUnderTest, silo_tenant: TenantUnderTest, forgery: str
) -> None:
    given = claim(tenant=pool_tenant.id)
    genuine = session_signer(platform.keyring).sign(given)
    shown = {
        "other key": session_signer(KEYRING).sign(given),
        "ticket": ticket_signer(platform.keyring).sign(given),
        "expired": session_signer(platform.keyring).sign(claim(tenant=pool_tenant.id, life_s=-1)),
        "other tenant": session_signer(platform.keyring).sign(claim(tenant=silo_tenant.id)),
        "cut": genuine[:-3],
        "empty": "",
        "twice": genuine + genuine,
    }[forgery]
    answer = me(platform, pool_tenant.host, Cookie=f"{COOKIE}={shown}")
    assert code(answer) == (401, "session_refused")


def test_a_ticket_is_no_key_and_a_key_is_no_ticket(platform: PlatformUnderTest, pool_tenant: TenantUnderTest) -> None:
    def redeemed(ticket: str) -> httpx.Response:
        return httpx.get(f"{platform.url}/api/enter", params={"ticket": ticket}, headers={"Host": pool_tenant.host})

    session = session_signer(platform.keyring).sign(claim(tenant=pool_tenant.id))
    late = ticket_signer(platform.keyring).sign(claim(tenant=pool_tenant.id, life_s=-1))
    for ticket in (pool_tenant.key, session, late, late[:-2], ""):
        assert redeemed(ticket).status_code in {401, 422}
        assert COOKIE not in redeemed(ticket).cookies


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"Origin": "http://{host}"}, True),
        ({"Origin": "https://{host}"}, True),
        ({"Origin": "http://{HOST}"}, True),
        ({}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Origin": "null"}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "http://{neighbour}"}, False),
        ({"Origin": "http://{host}.evil.example"}, False),
        ({"Origin": "{host}"}, False),
        ({"Origin": ""}, False),
        ({"Origin": "http://localhost:{port}"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Origin": "http://{neighbour}", "Sec-Fetch-Site": "same-origin"}, False),
    ],
)
def test_a_cookie_moves_nothing_from_another_sites_page(
    platform: PlatformUnderTest,
    pool_tenant: TenantUnderTest,
    silo_tenant: TenantUnderTest,
    headers: dict[str, str],
    allowed: bool,
) -> None:
    facts = {
        "host": pool_tenant.host,
        "HOST": pool_tenant.host.upper(),
        "neighbour": silo_tenant.host,
        "port": platform.port,
    }
    shown = {name: value.format(**facts) for name, value in headers.items()}
    for method in ("POST", "PATCH", "DELETE"):
        answer = httpx.request(
            method,
            f"{platform.url}/api/conversations/{uuid4()}" if method != "POST" else f"{platform.url}/api/conversations",
            headers={"Host": pool_tenant.host, **cookie(platform, pool_tenant), **shown},
            json={"subject": "forged"} if method != "DELETE" else None,
        )
        if allowed:
            assert answer.status_code == 401, "it got as far as the session that there is not"
        else:
            assert code(answer) == (403, "cross_origin")
    reading = me(platform, pool_tenant.host, **cookie(platform, pool_tenant), **shown)
    assert reading.status_code == 401


def test_a_key_is_not_asked_where_it_comes_from(platform: PlatformUnderTest, pool_tenant: TenantUnderTest) -> None:
    answer = pool_tenant.http.post(
        "/api/conversations", json={"subject": "by key"}, headers={"Origin": "http://evil.example"}
    )
    assert answer.status_code == 201


@pytest.mark.parametrize(
    "host",
    [
        "{slug}.localhost.evil.example",
        "{slug}.evil.example",
        "evil.{slug}.localhost",
        "{slug}localhost",
        "..localhost",
        "{slug}.localhost:1:2",
        "{slug}@localhost",
        "[::1",
    ],
)
def test_a_foreign_host_leads_nowhere(platform: PlatformUnderTest, pool_tenant: TenantUnderTest, host: str) -> None:
    answer = me(platform, host.format(slug=pool_tenant.slug), **bearer(pool_tenant.key))
    assert answer.status_code in {400, 401, 404}


@pytest.mark.parametrize("host", ["{SLUG}.LOCALHOST", "{slug}.localhost", "{slug}.localhost.", "{slug}.localhost:80"])
def test_a_host_is_the_same_in_every_spelling(
    platform: PlatformUnderTest, pool_tenant: TenantUnderTest, host: str
) -> None:
    spelled = host.format(slug=pool_tenant.slug, SLUG=pool_tenant.slug.upper())
    assert me(platform, spelled, **bearer(pool_tenant.key)).status_code == 200
