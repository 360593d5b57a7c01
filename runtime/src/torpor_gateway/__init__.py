"""The gateway: it holds requests while a fleet sleeps, and carries them to its engine pods when it is awake.

The data path is hand-written on asyncio protocols: a request's head is parsed and screened, its body is kept
whole (so that it can be sent again to another pod, byte for byte) and only looked at for `model` and
`stream`; the answer is passed on as it comes. No web framework and no HTTP client library stands between the
two sockets, because every streamed token passes here.

wire      request, chunks, response, surface, peek, answers: bytes to meaning and back, without sockets
state     policy, verdict, endpoint, fleet, registry, tokens, sketch: what is known of each fleet, and what a
          request is told
data path client, exchange, relay, upstream, server: sockets and the life of one request
sources   static, kube, cluster, stats: where fleets and endpoints come from
outlets   doors, demand, metrics: who asks the gateway what it sees
process   settings, process: what is started, in which order, and how it ends
workers   workers, shares, pipe, sums: several processes on one port, and what makes them one gateway

It writes nothing to Kubernetes: whoever breaks into a gateway can scale nothing.
"""
