package containerd

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/containerd/containerd/v2/cmd/containerd/server"
	serverconfig "github.com/containerd/containerd/v2/cmd/containerd/server/config"
	"github.com/containerd/containerd/v2/version"
	"github.com/containerd/log"

	// What containerd consists of here. Each of these registers itself; that is how containerd is put together.
	_ "github.com/containerd/containerd/api/types/runc/options"
	_ "github.com/containerd/containerd/v2/core/runtime/v2"
	_ "github.com/containerd/containerd/v2/plugins/content/local/plugin"
	_ "github.com/containerd/containerd/v2/plugins/diff/walking/plugin"
	_ "github.com/containerd/containerd/v2/plugins/events"
	_ "github.com/containerd/containerd/v2/plugins/gc"
	_ "github.com/containerd/containerd/v2/plugins/leases"
	_ "github.com/containerd/containerd/v2/plugins/metadata"
	_ "github.com/containerd/containerd/v2/plugins/mount"
	_ "github.com/containerd/containerd/v2/plugins/server/grpc"
	_ "github.com/containerd/containerd/v2/plugins/server/ttrpc"
	_ "github.com/containerd/containerd/v2/plugins/services/containers"
	_ "github.com/containerd/containerd/v2/plugins/services/content"
	_ "github.com/containerd/containerd/v2/plugins/services/diff"
	_ "github.com/containerd/containerd/v2/plugins/services/events"
	_ "github.com/containerd/containerd/v2/plugins/services/healthcheck"
	_ "github.com/containerd/containerd/v2/plugins/services/images"
	_ "github.com/containerd/containerd/v2/plugins/services/introspection"
	_ "github.com/containerd/containerd/v2/plugins/services/leases"
	_ "github.com/containerd/containerd/v2/plugins/services/namespaces"
	_ "github.com/containerd/containerd/v2/plugins/services/snapshots"
	_ "github.com/containerd/containerd/v2/plugins/services/tasks"
	_ "github.com/containerd/containerd/v2/plugins/services/version"
	_ "github.com/containerd/containerd/v2/plugins/services/warning"
	_ "github.com/containerd/containerd/v2/plugins/snapshots/native/plugin"
	_ "github.com/containerd/containerd/v2/plugins/snapshots/overlay/plugin"
)

// serveConfig is what a [Daemon] tells the process that it starts, as a JSON file.
type serveConfig struct {
	Root      string `json:"root"`
	State     string `json:"state"`
	Address   string `json:"address"`
	TTRPC     string `json:"ttrpc"`
	SocketDir string `json:"socketDir"`
}

const (
	// gcPercent and memoryLimit keep containerd small: its heap is a few megabytes, and it is idle most of the time.
	gcPercent   = 50
	memoryLimit = 96 << 20 // bytes; soft
)

// Main is the program "ikada containerd --config FILE": it serves containerd until SIGTERM or SIGINT. Containers and
// shims go on when it ends.
func Main(args []string) error {
	flags := flag.NewFlagSet("containerd", flag.ContinueOnError)
	path := flags.String("config", "", "configuration `file`, written by ikada")
	if err := flags.Parse(args); err != nil {
		return err
	}
	b, err := os.ReadFile(*path)
	if err != nil {
		return fmt.Errorf("read containerd configuration: %w", err)
	}
	var c serveConfig
	if err := json.Unmarshal(b, &c); err != nil {
		return fmt.Errorf("read containerd configuration: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return serve(ctx, c)
}

func serve(ctx context.Context, c serveConfig) error {
	debug.SetGCPercent(gcPercent)
	debug.SetMemoryLimit(memoryLimit)
	if err := log.SetLevel("warn"); err != nil {
		return err
	}
	sc := &serverconfig.Config{
		Version: version.ConfigVersion,
		Root:    c.Root,
		State:   c.State,
		Plugins: map[string]any{
			"io.containerd.server.v1.grpc":  map[string]any{"address": c.Address},
			"io.containerd.server.v1.ttrpc": map[string]any{"address": c.TTRPC},
			"io.containerd.shim.v1.manager": map[string]any{"socket_dir": c.SocketDir},
			"io.containerd.gc.v1.scheduler": map[string]any{"startup_delay": "5s", "schedule_delay": "1s", "deletion_threshold": 1},
		},
		DisabledPlugins: []string{tasksPlugin, "io.containerd.metrics.v1.grpc-prometheus", "io.containerd.metrics.v1.grpc-otel"},
		RequiredPlugins: []string{
			"io.containerd.server.v1.grpc", "io.containerd.server.v1.ttrpc",
			"io.containerd.metadata.v1.bolt", "io.containerd.runtime.v2.task", "io.containerd.grpc.v1." + detachedTasks,
		},
	}
	registerTasks()
	if err := server.CreateTopLevelDirectories(sc); err != nil {
		return fmt.Errorf("start containerd: %w", err)
	}
	s, err := server.New(ctx, sc)
	if err != nil {
		return fmt.Errorf("start containerd: %w", err)
	}
	if err := s.Start(ctx); err != nil {
		return fmt.Errorf("start containerd: %w", err)
	}
	s.Wait()
	<-ctx.Done()
	s.Stop()
	return nil
}
