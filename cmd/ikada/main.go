// Command ikada turns Linux machines into a place to deploy to. It is one program for everything: the node
// (`ikada up`), the container daemon that the node starts, and the client.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/ikada/ikada/internal/cli"
	"github.com/ikada/ikada/internal/proxy/remote"
	"github.com/ikada/ikada/internal/runtime/containerd"
)

// version is set when it is built.
var version = "dev"

func main() {
	if len(os.Args) > 2 {
		switch os.Args[1] { // the processes that a node starts
		case "containerd":
			exit(containerd.Main(os.Args[2:]))
		case "proxy":
			ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
			defer cancel()
			exit(remote.Main(ctx, os.Args[2]))
		}
	}
	os.Exit(cli.Run(context.Background(), os.Args[1:], cli.Options{Version: version, Daemon: node()}))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "ikada:", err)
		os.Exit(1)
	}
	os.Exit(0)
}
