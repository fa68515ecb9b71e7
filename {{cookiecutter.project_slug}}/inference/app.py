"""The application factory."""

import functools
import os

from flask import Flask

from inference.config import Settings
from inference.formats.instances import InstancesDecoder
from inference.http import monitor, openapi, problems, protocol, routes
from inference.http.api_keys import HEADERS, Keys
from inference.http.cors import Origins
from inference.http.middleware import Middleware, note_route
from inference.http.service import Service
from inference.monitoring import exposition, logs
from inference.monitoring.distributions import Distributions
from inference.monitoring.exposition import CloudWatch
from inference.monitoring.metrics import Metrics
from inference.monitoring.request_sample import Sample
from inference.monitoring.statistics import Statistics
from inference.runtime import artifact, serving
from inference.runtime.engine import load_engine


def create_app(settings: Settings | None = None) -> Flask:
    """Build the service; ``settings`` default to those in the environment.

    Raises StartupError if a setting is wrong, or if the model cannot be loaded or does not answer.
    """
    settings = settings or Settings.from_environment(os.environ)
    model = artifact.read(settings.model_path)
    measured = serving.read(model.path)
    # "auto" follows what training measured for the model.
    queue = measured.queue if settings.batching == "auto" else settings.batching == "on"
    engine = load_engine(model, queue, settings.request_seconds)
    card, version = engine.card, model.version
    decoder = InstancesDecoder(card, settings.max_rows)

    app = Flask(__name__)
    # Redirects would lead from HTTPS to HTTP: the load balancer decrypts.
    app.url_map.merge_slashes = False
    problems.register(app)
    app.before_request(note_route)
    doors = routes.make_doors(card, decoder)
    infer = protocol.make_door(card, version, settings.max_rows)
    app.register_blueprint(routes.create_blueprint(card, doors, version))
    app.register_blueprint(protocol.create_blueprint(engine, infer, version))
    app.register_blueprint(monitor.create_blueprint(card, version))
    app.register_blueprint(openapi.create_blueprint(card, decoder, version))
    doors_by_path = {path: (door, path) for path, door in doors.items()}
    doors_by_path |= {
        path: (infer, route) for path, route in protocol.paths_of(card, version).items()
    }
    distributions = Distributions(card)
    metrics = Metrics(app, card, version, distributions)
    logs.writer.count_dropped = functools.partial(metrics.count, "dropped_lines")
    statistics = Statistics(settings, card, distributions, metrics)
    metrics.more = functools.partial(exposition.collect, statistics)
    if settings.metrics_namespace:
        asked = [route for _, route in doors_by_path.values()]
        release = settings.release or version
        cloudwatch = CloudWatch(settings.metrics_namespace, release, metrics, statistics, asked)
        statistics.jobs.append(cloudwatch.tick)
    service = Service(
        settings,
        engine,
        doors_by_path,
        metrics,
        statistics,
        Sample(settings, card, version, metrics),
        Keys(settings.api_keys, card.name, version),
        Origins(settings.origins),
        headers=[*HEADERS.items(), ("X-Model-Name", card.name), ("X-Model-Version", version)],
        inline_rows=0 if engine.may_block else measured.inline_rows,
        views={
            name: app.view_functions[name]
            for name in ("inference.predict", "inference.invocations", "protocol.infer")
        },
        places=[None] * settings.max_concurrent,
    )
    app.extensions["service"] = service
    app.wsgi_app = Middleware(app.wsgi_app, service)  # type: ignore[method-assign]
    return app
