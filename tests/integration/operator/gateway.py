"""A gateway's demand stream, spoken by a test: real HTTP on loopback, lines on command."""

import json
import socket
import threading

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n"
REFUSED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
REPEAT_BEATS = 15  # heartbeats between two lines of a fleet with something under way


class DemandServer:
    """One gateway process. `say` sends a fleet's line to every reader and remembers it for those who come
    later.
    """

    def __init__(self, token, boot="boot-1"):
        self.boot, self._token = boot, token
        self._fleets, self._readers = {}, []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._closed = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._accept, self._beat)]
        for thread in self._threads:
            thread.start()

    def say(self, fleet, **numbers):
        """Tell about a fleet (its live object); numbers add to what was said before."""
        metadata = fleet["metadata"]
        key = metadata["namespace"], metadata["name"]
        with self._lock:
            line = self._fleets.get(key, {"arrivals": 0, "held": {"count": 0}, "queued": 0, "inFlight": 0})
            line = line | {"namespace": key[0], "name": key[1], "uid": metadata["uid"]} | numbers
            self._fleets[key] = line
            self._send(self._line("fleet", **line))

    def hold(self, fleet, count):
        """Hold `count` requests of a fleet."""
        self.say(fleet, held={"count": count, "bytes": 100 * count, "oldestSeconds": 0.01})

    def close(self):
        """End the threads before the sockets, so that none takes in another reader."""
        self._closed.set()
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits there
        for thread in self._threads:
            thread.join(30)
        self._listener.close()
        for reader in self._readers:
            reader.close()

    def _accept(self):
        while not self._closed.is_set():
            try:
                reader, _ = self._listener.accept()
            except OSError:
                return
            try:
                self._take_in(reader)
            except OSError:  # the operator was killed in the middle of it
                reader.close()

    def _take_in(self, reader):
        reader.settimeout(30)
        head = b""
        while b"\r\n\r\n" not in head:
            read = reader.recv(65536)
            if not read:
                raise ConnectionResetError
            head += read
        if f"Authorization: Bearer {self._token}".lower() not in head.decode().lower():
            reader.sendall(REFUSED)
            raise ConnectionRefusedError
        with self._lock:
            lines = [self._line("hello"), self._heartbeat()]
            lines += [self._line("fleet", **line) for line in self._fleets.values()]
            reader.sendall(HEAD + b"".join(lines))
            self._readers.append(reader)

    def _beat(self):
        beats = 0
        while not self._closed.wait(0.3):
            beats += 1
            with self._lock:
                self._send(self._heartbeat())
                # As the real one does: what launchers said is old after 15 s, however slow the test is.
                for line in self._fleets.values() if beats % REPEAT_BEATS == 0 else ():
                    if line["inFlight"] or line["queued"] or line["held"]["count"]:
                        self._send(self._line("fleet", **line))

    def _heartbeat(self):
        return self._line("heartbeat", state="Serving", synced=True, fleets=len(self._fleets))

    def _line(self, kind, **more):
        line = {"v": 1, "type": kind, "bootId": self.boot, "gateway": "gateway-a"} | more
        return json.dumps(line).encode() + b"\n"

    def _send(self, text):
        for reader in list(self._readers):
            try:
                reader.sendall(text)
            except OSError:  # the operator was killed
                self._readers.remove(reader)
                reader.close()
