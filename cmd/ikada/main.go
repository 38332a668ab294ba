// Command ikada turns Linux machines into a place to deploy to. It is one program for everything: the node
// (`ikada up`), the container daemon that the node starts, and the client.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/ikada/ikada/internal/cli"
	"github.com/ikada/ikada/internal/runtime/containerd"
)

// version is set when it is built.
var version = "dev"

func main() {
	if len(os.Args) > 1 && os.Args[1] == "containerd" {
		if err := containerd.Main(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "ikada containerd:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(cli.Run(context.Background(), os.Args[1:], cli.Options{Version: version, Daemon: node()}))
}
