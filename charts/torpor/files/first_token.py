"""`helm test`: ask a sleeping fleet for a few tokens through the gateway and print what came.

The fleet has no pod when the request arrives; the gateway holds it, the operator starts a simulated engine,
and the answer streams. Nothing here retries a failed answer, since that the first request succeeds is what is
tested. Only a 404 is asked again for a few seconds: the object was created a moment ago and the gateway's
watch may not have it yet.

Over HTTPS the certificate has to be the one that CERTIFICATE holds, whatever names it is for: clients come in
by names that this pod does not know.
"""

import http.client
import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request

UNKNOWN_MODEL_SECONDS = 5


def trust(file: str | None) -> ssl.SSLContext | None:
    """Return what trusts the certificate in `file` alone; None without one."""
    if not file:
        return None
    context = ssl.create_default_context(cafile=file)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False
    return context


def ask(url: str, model: str, timeout: float) -> str:
    """Return the streamed answer's text. OSError when refused, ValueError when it is cut short."""
    body = {
        "model": model,
        "stream": True,
        "max_tokens": 8,
        "messages": [{"role": "user", "content": "Are you awake?"}],
    }
    key = {"Authorization": f"Bearer {os.environ['API_KEY']}"} if os.environ.get("API_KEY") else {}
    request = urllib.request.Request(  # noqa: S310 - the chart wrote the address
        f"{url}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"} | key,
    )
    text, done = "", False
    tls = trust(os.environ.get("CERTIFICATE"))
    with urllib.request.urlopen(request, timeout=timeout, context=tls) as answer:  # noqa: S310
        for line in answer:
            if not line.startswith(b"data: "):
                continue  # keep-alive comments and blank lines
            data = line.removeprefix(b"data: ").strip()
            if data == b"[DONE]":
                done = True
                break
            event = json.loads(data)
            if "error" in event:
                raise ValueError(f"the stream ended with an error: {event['error']}")
            for choice in event["choices"]:
                text += choice["delta"].get("content") or ""
    if not done or not text:
        raise ValueError(
            f"the answer is incomplete: text {text!r}, end of stream {'seen' if done else 'missing'}"
        )
    return text


def main() -> int:
    """Ask once, print the answer or the reason; the exit status is Helm's verdict."""
    url, model = os.environ["GATEWAY"], os.environ["MODEL"]
    timeout = float(os.environ["TIMEOUT_SECONDS"])
    start = time.monotonic()
    while True:
        try:
            text = ask(url, model, timeout)
        except urllib.error.HTTPError as refusal:
            if refusal.code == 404 and time.monotonic() - start < UNKNOWN_MODEL_SECONDS:
                time.sleep(0.5)
                continue
            print(f"{url}: {refusal.code} {refusal.read().decode(errors='replace')}")  # noqa: T201
            return 1
        except (OSError, ValueError, http.client.HTTPException) as problem:
            print(f"{url}: {problem}")  # noqa: T201
            return 1
        print(f"{model} slept, and answered after {time.monotonic() - start:.1f} s: {text}")  # noqa: T201
        return 0


if __name__ == "__main__":
    sys.exit(main())
