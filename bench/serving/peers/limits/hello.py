"""The least a WSGI application can do: an answer as long as that to one row of iris."""

BODY = (
    b'{"predictions":["setosa"],"probabilities":[{"setosa":0.9796590805053711,'
    b'"versicolor":0.020340900868177414,"virginica":1.4357918326880047e-8}]}'
)
HEADERS = [("Content-Type", "application/json"), ("Content-Length", str(len(BODY)))]


def application(environ, start_response):
    """Answer without a look at the request."""
    start_response("200 OK", HEADERS)
    return [BODY]
