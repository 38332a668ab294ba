package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

// DefaultQuota is the size of the database file, in bytes, at which writes are refused.
const DefaultQuota = 2 << 30

// Config says where the member keeps its data.
type Config struct {
	Dir   string       // its own; made when missing
	Name  string       // of the member
	Quota int64        // bytes; 0 is DefaultQuota
	Log   *slog.Logger // nil: nothing is logged
}

// Validate names the field that is wrong.
func (c Config) Validate() error {
	switch {
	case c.Dir == "":
		return api.FieldError("dir", "", "the directory of the store")
	case c.Name == "":
		return api.FieldError("name", "", "the name of the node")
	case c.Quota < 0:
		return api.FieldError("quota", fmt.Sprint(c.Quota), "a number of bytes, or 0 for the default")
	}
	return nil
}

// Server is a running etcd member and the store on it.
type Server struct {
	config Config
	log    *slog.Logger
	lock   *os.File
	etcd   *embed.Etcd
	client *clientv3.Client

	retry chan struct{} // held by the transaction that runs again after a conflict
	full  chan struct{} // asks reclaim to look for space
	stop  context.CancelFunc
	tasks sync.WaitGroup
	once  sync.Once
}

var _ store.Store = (*Server)(nil)

// Open starts the member and returns once it answers. Errors are of kind Invalid for the configuration, Conflict
// when another process uses the directory, and Unavailable otherwise.
func Open(ctx context.Context, c Config) (*Server, error) {
	if c.Quota == 0 {
		c.Quota = DefaultQuota
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	lock, err := lockDir(c.Dir)
	if err != nil {
		return nil, err
	}
	h := &halt{err: make(chan error, 1)}
	member, err := c.start(h)
	if err != nil {
		lock.Close()
		return nil, api.Errorf(api.Unavailable, "start store in %s: %w", c.Dir, err)
	}
	s := &Server{
		config: c,
		log:    c.Log,
		lock:   lock,
		etcd:   member,
		retry:  make(chan struct{}, 1),
		full:   make(chan struct{}, 1),
	}
	select {
	case <-member.Server.ReadyNotify():
	case <-member.Server.StopNotify():
		err = errors.New("it stopped while starting")
	case err = <-h.err:
	case <-ctx.Done():
		err = ctx.Err()
	}
	h.ready.Store(true)
	if err != nil {
		member.Close()
		lock.Close()
		return nil, api.Errorf(api.Unavailable, "start store in %s: %w", c.Dir, err)
	}
	s.client = v3client.New(member.Server)
	running, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.tasks.Go(func() { s.reclaimWhenFull(running) })
	s.tasks.Go(func() { s.keepReserve(running) })
	if len(member.Server.Alarms()) > 0 {
		s.askForSpace()
	}
	return s, nil
}

// Stopped is closed when the member has stopped, by Close or because it could not go on.
func (s *Server) Stopped() <-chan struct{} { return s.etcd.Server.StopNotify() }

// Run blocks until ctx ends; an error says that the member has stopped before, so that nothing can be read or written any
// more by this process.
func (s *Server) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.Stopped():
		return api.Errorf(api.Unavailable, "the store in %s has stopped by itself", s.config.Dir)
	}
}

// Close stops the member. Leases end by their ttl, watches with an error.
func (s *Server) Close() error {
	var err error
	s.once.Do(func() {
		s.stop()
		err = s.client.Close()
		if errors.Is(err, context.Canceled) { // what closing itself causes
			err = nil
		}
		s.tasks.Wait()
		s.etcd.Close()
		err = errors.Join(err, s.lock.Close())
	})
	return err
}

// lockDir makes the directory and takes it for this process; the kernel gives it free however the process ends.
// Without it etcd waits forever for its database's own lock.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, api.Errorf(api.Unavailable, "make store directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, api.Errorf(api.Unavailable, "lock store directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, api.Errorf(api.Conflict, "the store in %s is in use by another process", dir)
		}
		return nil, api.Errorf(api.Unavailable, "lock store directory: %w", err)
	}
	return f, nil
}

// embed translates the configuration into etcd's, tuned for one member that shares a machine with the work it
// deploys: few log entries and little history in memory, and an election that is over at once.
func (c Config) embed(h *halt) *embed.Config {
	e := embed.NewConfig()
	e.Name = c.Name
	e.Dir = filepath.Join(c.Dir, "data")

	// A member must have a peer address, but with no peer nothing listens there.
	peer := url.URL{Scheme: "unix", Path: "/ikada"}
	e.AdvertisePeerUrls = []url.URL{peer}
	e.AdvertiseClientUrls = nil
	e.ListenPeerUrls = nil
	e.ListenClientUrls = nil
	e.InitialCluster = fmt.Sprintf("%s=%s", c.Name, peer.String())
	e.EnableGRPCGateway = false
	e.AuthToken = "" // nobody logs in

	// With no peer the election timeout is only a wait before the member elects itself; etcd wants five ticks of it.
	e.TickMs = 20
	e.ElectionMs = 100

	e.QuotaBackendBytes = c.Quota
	e.MaxRequestBytes = 8 << 20
	// A transaction's comparisons are bounded by this too: one for each key that it read.
	e.MaxTxnOps = 16 * store.MaxWrites
	e.AutoCompactionMode = embed.CompactorModePeriodic
	e.AutoCompactionRetention = "5m"
	e.BootstrapDefragThresholdMegabytes = 64

	// The log's entries since the last snapshot are kept in memory and read again at the start; those before it
	// are only for followers that lag.
	e.SnapshotCount = 1000
	e.SnapshotCatchUpEntries = 10
	e.MaxSnapFiles = 2
	e.MaxWalFiles = 2

	e.LogLevel = "warn"
	e.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.New(zapToSlog{handler: c.Log.Handler()}, zap.WithFatalHook(h)))
	return e
}
