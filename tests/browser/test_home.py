"""The home page in a browser."""


def test_home_opens_without_an_error(reader):
    """The home page loads nothing from elsewhere, reports no error, and axe finds nothing serious."""
    someone = reader()
    page = someone.open("/admin/")
    assert page.title().strip().startswith("Home")
    assert someone.errors == []
    assert someone.serious() == []
