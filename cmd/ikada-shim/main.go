//go:build linux

// Command ikada-shim stands between containerd and a container: it starts runc, holds the container's output, reaps its
// processes and outlives containerd. It is containerd's own runc shim with two things of ours: output goes into a
// rotated log that the shim writes itself, and the end of a container is recorded in a file before it is announced.
//
// Called as "ikada-shim init -- COMMAND…" it is instead the first process of a container that asked for one: see [runInit].
// As "ikada-shim hold -- COMMAND…" it is that of one whose command waits, which "ikada-shim held" runs: see [runHold].
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/manager"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/task"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"golang.org/x/sys/unix"
)

// tempVariable says where the library around runc puts temporary files.
const tempVariable = "XDG_RUNTIME_DIR"

func main() {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "init":
			os.Exit(runInit(os.Args[2:]))
		case "hold":
			runHold()
			os.Exit(0)
		case "held":
			os.Exit(runHeld())
		}
	}
	// What runc is told of a command within a container goes through a temporary file, and may hold secrets: it is to lie
	// in memory.
	for _, dir := range []string{"/dev/shm", "/run"} {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			_ = os.Setenv(tempVariable, dir)
			break
		}
	}
	registry.Register(&plugin.Registration{
		Type:     plugins.TTRPCPlugin,
		ID:       "task",
		Requires: []plugin.Type{plugins.EventPlugin, plugins.InternalPlugin},
		InitFn:   newService,
	})
	shim.RunShim(context.Background(), manager.NewShimManager("io.ikada.runc.v2"), func(c *shim.Config) { c.NoSetupLogger = true })
}

// newService makes the task service with what is ours around it.
func newService(ic *plugin.InitContext) (any, error) {
	if err := openLog(logName); err != nil {
		// Whoever asked for this shim is dead or has given it up: nobody knows of it, and nobody ever would.
		return nil, errors.Join(err, removeSocket())
	}
	pub, err := ic.GetByID(plugins.EventPlugin, "publisher")
	if err != nil {
		return nil, err
	}
	sd, err := ic.GetByID(plugins.InternalPlugin, "shutdown")
	if err != nil {
		return nil, err
	}
	cs := newContainers()
	p := newRecorder(pub.(shim.Publisher), cs)
	s, err := task.NewTaskService(ic.Context, p, sd.(shutdown.Service))
	if err != nil {
		return nil, err
	}
	return &service{TTRPCTaskService: s, containers: cs}, nil
}

// removeSocket takes away the socket that the shim was started with and does not serve.
func removeSocket() error {
	const inherited = 3 // as the shim library has it
	address, err := unix.Getsockname(inherited)
	if err != nil {
		return fmt.Errorf("remove socket: %w", err)
	}
	if socket, ok := address.(*unix.SockaddrUnix); ok {
		return os.Remove(socket.Name)
	}
	return nil
}
