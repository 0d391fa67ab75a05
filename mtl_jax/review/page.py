"""The pages and who may ask for them: this machine alone. It reads no scores itself.

Needs the [review] extra (Flask).
"""

from typing import Any

from flask import Flask, Response, abort, render_template, request

from mtl_jax.review.scored import ORDERS, TRUTHS, Filter, Scored, chosen

HOSTS = ["127.0.0.1", "localhost"]  # any other name is a page elsewhere that points here
POLICY = "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'"
POLICY += "; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"


def make_app(scored: Scored) -> Flask:
    """The application: GET alone, nothing is written."""
    app = Flask(__name__)
    app.config["TRUSTED_HOSTS"] = HOSTS
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    pictures = {
        (seen.place, name)
        for lesion in scored.lesions
        for seen in lesion.seen
        for view in seen.lesion["views"]
        for name in (view["region"], view["evidence"])
        if name
    }

    @app.after_request
    def guard(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cache-Control"] = "no-store"
        return response

    @app.get("/")
    def index() -> str:
        asked = _filter()
        return _page("list.html", asked, lesions=chosen(scored.lesions, asked))

    @app.get("/lesion/<int:number>")
    def lesion(number: int) -> str:
        if number >= len(scored.lesions):
            abort(404)
        asked = _filter()
        listed = [one.number for one in chosen(scored.lesions, asked)]
        at = listed.index(number) if number in listed else -1
        return _page(
            "lesion.html",
            asked,
            lesion=scored.lesions[number],
            place=f"{at + 1} of {len(listed)}" if at >= 0 else "not in the list",
            before=listed[at - 1] if at > 0 else None,
            after=listed[at + 1] if 0 <= at < len(listed) - 1 else None,
        )

    @app.get("/picture/<place>/<path:name>")
    def picture(place: str, name: str) -> Response:
        if (place, name) not in pictures:  # nothing but what scores.json names
            abort(404)
        return Response((scored.places[place] / name).read_bytes(), mimetype="image/png")

    def _page(template: str, asked: Filter, **values: Any) -> str:
        query = {k: v for k, v in asked._asdict().items() if v not in ("", None, False)}
        tasks = sorted({task for one in scored.lesions for task in one.tasks})
        return render_template(
            template,
            scored=scored,
            asked=asked,
            query=query,
            tasks=tasks,
            truths=TRUTHS,
            orders=ORDERS,
            **values,
        )

    return app


def _filter() -> Filter:
    """What the address asks; what makes no sense in it asks nothing."""
    order = request.args.get("order", "table")
    return Filter(
        request.args.get("task", ""),
        request.args.get("truth", ""),
        request.args.get("low", type=float),
        request.args.get("high", type=float),
        request.args.get("flagged") is not None,
        order if order in ORDERS else "table",
    )
