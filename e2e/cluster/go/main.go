// Package main is every part of a Kubernetes, and the tools to look at it, in one program.
//
// Each Kubernetes component is a cobra command that shares nine tenths of its code with the others. Linked into one
// binary they cost one link and 200 MB instead of nine links and 900 MB, which is what makes a cluster that is built
// from source bearable on two cores. The name the program is called by (or else its first argument) selects the part;
// everything after it is that part's own command line.
//
// It refuses to be more than a dispatcher: no defaults, no supervision, no configuration. Those are the business of
// the Python beside it.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectlcmd "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	// The JSON log format and the client metrics register themselves, as they do in the upstream main packages.
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

// parts maps the name of a part to what runs it with os.Args set as if it were a program of its own.
var parts = map[string]func(context.Context) int{
	"coredns":                 coredns,
	"etcd":                    etcd,
	"health":                  health,
	"helm":                    helm,
	"kube-apiserver":          run(func(context.Context) *cobra.Command { return apiserver.NewAPIServerCommand() }),
	"kube-controller-manager": run(func(context.Context) *cobra.Command { return controllermanager.NewControllerManagerCommand() }),
	"kube-proxy":              run(func(context.Context) *cobra.Command { return proxy.NewProxyCommand() }),
	"kube-scheduler":          run(func(context.Context) *cobra.Command { return scheduler.NewSchedulerCommand() }),
	"kubectl":                 kubectl,
	"kubelet":                 run(kubelet.NewKubeletCommand),
	"pki":                     pki,
}

func main() {
	name := filepath.Base(os.Args[0])
	if parts[name] == nil && len(os.Args) > 1 {
		name = os.Args[1]
		os.Args = append([]string{name}, os.Args[2:]...)
	}
	part := parts[name]
	if part == nil {
		names := make([]string, 0, len(parts))
		for known := range parts {
			names = append(names, known)
		}
		slices.Sort(names)
		fmt.Fprintf(os.Stderr, "unknown part %q: the first argument must be one of %s\n", name, strings.Join(names, ", "))
		os.Exit(64)
	}
	os.Exit(part(context.Background()))
}

func run(command func(context.Context) *cobra.Command) func(context.Context) int {
	return func(ctx context.Context) int { return cli.Run(command(ctx)) }
}

func etcd(context.Context) int {
	etcdmain.Main(os.Args)
	return 0
}

func kubectl(context.Context) int {
	if err := cli.RunNoErrOutput(kubectlcmd.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err)
	}
	return 0
}
