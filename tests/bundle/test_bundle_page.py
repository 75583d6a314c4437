"""The page that verifies a bundle in a browser: the same verdicts as ``verify.py``, offline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from bundle_files import Files, rewritten
from bundle_tampering import TAMPERING
from bundles import Bundled
from chromium import Chromium

from signer.policy import Revoked, format_policy

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with Chromium() as running:
        yield running


def verify(browser: Chromium, page: Path, bundle: Path, policy: Path | None) -> tuple[int, str]:
    browser.open(page.as_uri())
    if policy is not None:
        browser.choose("#policy", policy)
    browser.choose("#bundle", bundle)
    code = browser.until("return document.getElementById('result').dataset.code")
    return int(code), browser.text("#result")


@pytest.fixture
def page(bundled: Bundled, tmp_path: Path) -> Path:
    """The page as it lies in the bundle."""
    path = tmp_path / "verify.html"
    path.write_bytes(Files(bundled.path)["verify.html"])
    return path


def test_a_bundle_verifies_in_the_browser(browser: Chromium, bundled: Bundled, page: Path, tmp_path: Path) -> None:
    code, text = verify(browser, page, bundled.path, bundled.policy)
    assert code == 0, text
    assert text.startswith("Verified")
    assert "events/0@255" in text
    assert "by clock, witness" in text
    assert "content OK" in text
    assert "Policy yours" in text
    browser.script("document.querySelector('details').open = true")
    assert "messages" in browser.until("return (document.querySelector('details pre') || {}).textContent")
    browser.picture(tmp_path / "verified.png")
    assert browser.printed().startswith(b"%PDF")


def test_the_page_says_whose_policy_it_took(browser: Chromium, bundled: Bundled, page: Path) -> None:
    code, text = verify(browser, page, bundled.path, None)
    assert code == 0
    assert "the bundle's own: its maker chose whom you believe" in text


def test_the_page_cannot_reach_a_network(browser: Chromium, page: Path) -> None:
    browser.open(page.as_uri())
    refused = browser.script(
        "return fetch('http://127.0.0.1:9/').then(() => 'reached', error => document.title && String(error.name))"
    )
    assert refused == "TypeError"
    violated = browser.script(
        "return new Promise(done => {"
        " document.addEventListener('securitypolicyviolation', e => done(e.violatedDirective));"
        " fetch('http://127.0.0.1:9/').catch(() => 0) })"
    )
    assert violated == "connect-src"


@pytest.mark.parametrize("what", TAMPERING)
def test_whatever_is_changed_is_found(
    browser: Chromium, bundled: Bundled, page: Path, tmp_path: Path, what: str
) -> None:
    work, step, code = TAMPERING[what]
    path = rewritten(bundled.path, tmp_path / "t.zip", work)
    found, text = verify(browser, page, path, bundled.policy)
    assert found == code, text
    assert f"{step} " in text


def test_what_is_no_bundle(browser: Chromium, page: Path, tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"no zip")
    code, text = verify(browser, page, tmp_path / "x.zip", None)
    assert code == 3
    assert "this is not a ZIP file" in text


def test_a_revoked_key(browser: Chromium, bundled: Bundled, page: Path, tmp_path: Path) -> None:
    revoked = (Revoked(bundled.made.world.key.public_key, 1),)
    (tmp_path / "policy").write_bytes(format_policy(replace(bundled.made.policy, revoked=revoked)))
    code, text = verify(browser, page, bundled.path, tmp_path / "policy")
    assert code == 1
    assert "its key is revoked since 1970-01-01" in text
