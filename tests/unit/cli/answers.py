"""An API server that answers as a test says: real HTTP on loopback, no Kubernetes behind it."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

PATH = "/apis/serving.torpor.dev/v1alpha1/namespaces/team/inferenceservices"


class Server:
    """An API server that gives each path an answer, (status, body) or a function of the request's body that
    gives one, and keeps what was written, and the headers of every request.
    """

    def __init__(self, answers):
        self.written = written = []
        self.headers = headers = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.answer(None)

            def do_PATCH(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                written.append((self.path, body))
                self.answer(body)

            def answer(self, sent):
                headers.append(self.headers.items())
                found = answers.get(self.path.partition("?")[0], (404, "404 page not found"))
                status, body = found(sent) if callable(found) else found
                text = (body if isinstance(body, str) else json.dumps(body)).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args):
                pass

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def stop(self):
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


def not_found(name):
    said = f'inferenceservices.serving.torpor.dev "{name}" not found'
    return 404, {"kind": "Status", "reason": "NotFound", "message": said}
