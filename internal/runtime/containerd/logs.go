package containerd

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/agent"
	"github.com/ikada/ikada/internal/runtime/shimlog"
)

// Logs opens the container's log.
func (r *Runtime) Logs(ctx context.Context, id string, q agent.LogQuery) (agent.LogReader, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	l, err := shimlog.Open(ctx, r.cfg.taskLog(id), shimlog.Query(q))
	if errors.Is(err, os.ErrNotExist) {
		return nil, api.Errorf(api.NotFound, "read log of container %s: there is none", id)
	}
	if err != nil {
		return nil, convert(err, "read log of container %s", id)
	}
	return logReader{l}, nil
}

// RemoveLogs removes the log of a container; readers that follow it come to its end.
func (r *Runtime) RemoveLogs(_ context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	return convert(os.RemoveAll(r.cfg.taskLog(id)), "remove log of container %s", id)
}

// SweepLogs removes the logs of all containers that keep does not want.
func (r *Runtime) SweepLogs(ctx context.Context, keep func(id string) bool) error {
	dir := filepath.Dir(r.cfg.taskLog("any"))
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return convert(err, "list logs")
	}
	var errs []error
	for _, e := range entries {
		if checkID(e.Name()) == nil && e.IsDir() && !keep(e.Name()) {
			errs = append(errs, r.RemoveLogs(ctx, e.Name()))
		}
	}
	return errors.Join(errs...)
}

func closeLog(dir string) error { return shimlog.MarkClosed(dir) }

// logReader gives the log's records as the agent's.
type logReader struct{ *shimlog.Reader }

func (l logReader) Next() (agent.LogRecord, error) {
	rec, err := l.Reader.Next()
	return agent.LogRecord(rec), err
}
