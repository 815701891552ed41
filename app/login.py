"""Who may ask: Gradio guards its own endpoints, and those that are added to it guard themselves here."""

from starlette.requests import Request


def logged_in(request: Request) -> bool:
    """The caller has logged in, or no login is asked for."""
    app = request.app
    if app.auth is None:
        return True
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return any(app.tokens.get(request.cookies.get(name)) for name in names)
