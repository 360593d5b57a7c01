package main

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"github.com/coredns/coredns/coremain"
	helmcmd "helm.sh/helm/v4/pkg/cmd"
	helmkube "helm.sh/helm/v4/pkg/kube"

	// CoreDNS runs with the plugins that a cluster's name service needs and no others: the full set would add the
	// client libraries of three clouds to the build.
	_ "github.com/coredns/coredns/core/dnsserver"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
)

// coredns runs the name service; its Corefile and flags come from the command line.
func coredns(context.Context) int {
	coremain.Run()
	return 0
}

// helm runs the Helm client under its usual field manager, as its own main package does.
func helm(context.Context) int {
	helmkube.ManagedFieldsManager = "helm"
	command, err := helmcmd.NewRootCmd(os.Stdout, os.Args[1:], helmcmd.SetupLogging)
	if err != nil {
		slog.Warn("command failed", slog.Any("error", err))
		return 1
	}
	if err := command.Execute(); err != nil {
		if exit, ok := errors.AsType[helmcmd.CommandError](err); ok {
			return exit.ExitCode
		}
		return 1
	}
	return 0
}
