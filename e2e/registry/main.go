// Package main is a registry of OCI artifacts on a loopback address, in memory.
//
// What a chart is worth to its users shows only when a client has pushed it to a registry and another has pulled it
// again. This one is go-containerregistry's handler, which speaks the distribution protocol that charts and images
// need. It prints the address it listens on and ends when its standard input does, so that it never outlives whoever
// started it; what was pushed goes with it.
//
// It refuses to be a service: no storage, no TLS, no accounts, no other address than loopback.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	server := &http.Server{Handler: registry.New(), ReadHeaderTimeout: time.Minute}
	log.Fatal(server.Serve(listener))
}
