"""The API's documentation in a browser: from here alone, and nothing that stands in the page is run."""

import gzip
import re
from importlib import resources

import pytest

from datastore.service import documentation
from tests.service.conftest import Api, problem

pytestmark = pytest.mark.engines("postgres")


def test_the_documentation_page_needs_no_token_and_no_other_host(api: Api) -> None:
    with api.client(None) as client:
        page = client.get("/docs")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        asked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert asked == ["data:,", "docs/swagger-ui.css", "docs/swagger-ui-bundle.js", "docs/start.js"]
        # Nothing that the policy would refuse: no script or style in the page itself.
        assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", page.text)
        for path in asked[1:]:
            answer = client.get(f"/{path}")
            assert answer.status_code == 200
            assert answer.headers["Content-Security-Policy"] == page.headers["Content-Security-Policy"]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "unsafe" not in page.headers["Content-Security-Policy"]
        start = client.get("/docs/start.js").text
        assert 'url: "openapi.json"' in start
        assert "validatorUrl: null" in start
        # What the page asks for is there without a token, and says how one is given.
        schemes = client.get("/openapi.json").json()["components"]["securitySchemes"]
        assert schemes["token"]["scheme"] == "bearer"
        problem(client.get("/docs", params={"a": "b"}), 422)
        problem(client.get("/docs/LICENSE.txt"), 401)


def test_files_are_compressed_only_for_clients_that_accept_it(api: Api) -> None:
    with api.client(None) as client:
        for path, (name, _) in documentation.FILES.items():
            plain = client.get(path, headers={"Accept-Encoding": "identity"})
            assert "Content-Encoding" not in plain.headers
            packed = client.get(path, headers={"Accept-Encoding": "gzip"})
            assert packed.content == plain.content
            assert ("Content-Encoding" in packed.headers) == name.endswith(".gz")


def test_third_party_files_include_their_licences_and_are_small() -> None:
    folder = resources.files("datastore.service").joinpath("swagger")
    assert "Apache License" in folder.joinpath("LICENSE.txt").read_text(encoding="utf-8")
    assert "SmartBear" in folder.joinpath("NOTICE.txt").read_text(encoding="utf-8")
    assert "@license" in folder.joinpath("swagger-ui-bundle.js.LICENSE.txt").read_text(encoding="utf-8")
    assert sum(len(each.read_bytes()) for each in folder.iterdir() if each.is_file()) < 520_000
    assert b"SwaggerUIBundle" in gzip.decompress(folder.joinpath("swagger-ui-bundle.js.gz").read_bytes())
