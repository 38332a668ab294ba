package remote

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/process"
	"github.com/ikada/ikada/internal/proxy"
	"github.com/ikada/ikada/internal/proxy/inside"
	"github.com/ikada/ikada/internal/proxy/meter"
)

// server is the process's side.
type server struct {
	cfg    Config
	proxy  *proxy.Proxy
	names  *inside.Names
	log    *slog.Logger
	boot   string
	began  time.Time
	build  string
	retire chan struct{} // closed when another process takes over

	taking sync.Mutex // one table at a time
	taken  string     // what the node calls the table in force; "" for one that has no name

	mu       sync.Mutex
	seq      uint64
	changed  chan struct{} // closed and renewed when seq grows
	open     bool          // the first table has come
	retiring bool
	windows  map[string]*window
}

type window struct {
	*meter.Window
	opened time.Time
}

// Main runs the process with the configuration in a file.
//
// It uses half of the machine's processors, unless the environment has GOMAXPROCS: tasks need the others, and a request
// that stays on one processor costs less than one that is passed on to another.
func Main(ctx context.Context, path string) error {
	cores, coresErr := process.TakeCores()
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, cores/2))
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	var cfg Config
	if err := json.Unmarshal(b, &cfg); err != nil {
		return fmt.Errorf("read configuration %s: %w", path, err)
	}
	level := slog.LevelWarn
	if cfg.Debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	if coresErr != nil {
		log.Warn("balancer does not have all cores", "error", coresErr)
	}
	if err := prefer(); err != nil {
		log.Warn("balancer runs with ordinary priority", "error", err)
	}
	return Serve(ctx, cfg, log)
}

// Serve runs a balancer until ctx ends or it has been replaced and has nothing left to do.
func Serve(ctx context.Context, cfg Config, log *slog.Logger) error {
	hangups := make(chan os.Signal, 1) // from the beginning: without a taker the signal ends the process
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	settings, err := settings(cfg, log)
	if err != nil {
		return err
	}
	p, err := proxy.New(settings)
	if err != nil {
		return err
	}
	s := &server{cfg: cfg, proxy: p, log: log, boot: rand.Text(), began: time.Now(), build: cfg.build(), retire: make(chan struct{}),
		changed: make(chan struct{}), windows: map[string]*window{}}
	s.names = inside.NewNames(cmp.Or(cfg.Resolvers, "/etc/resolv.conf"), s.bump, log)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	files, err := listenFiles(cfg.Socket)
	if err != nil {
		return err
	}
	control, err := listenUnix(cfg.Socket)
	if err != nil {
		return errors.Join(err, files.Close())
	}
	api := &http.Server{Handler: s.routes(), ReadHeaderTimeout: 10 * time.Second}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { _ = api.Serve(control) }) // ends with Close
	defer func() { _ = api.Close() }()
	wg.Go(func() { s.passFiles(files) })
	defer func() { _ = files.Close() }()
	wg.Go(func() { s.watch(ctx) })
	wg.Go(func() { s.reopenLog(ctx, hangups) })
	defer cancel()
	naming, stopNaming := context.WithCancel(ctx)
	defer stopNaming()
	wg.Go(func() { _ = s.names.Run(naming) }) // it has no error to give
	running := make(chan error, 1)
	run, stop := context.WithCancel(ctx)
	defer stop()
	wg.Go(func() { running <- p.RunOpened(run) })
	select {
	case <-ctx.Done():
		return <-running
	case err := <-running:
		return err
	case <-s.retire:
	}
	stopNaming()
	grace, done := context.WithTimeout(ctx, retireTime)
	defer done()
	p.Retire(grace)
	stop()
	return <-running
}

// settings gives what the balancer itself is to know.
func settings(cfg Config, log *slog.Logger) (proxy.Config, error) {
	out := proxy.Config{
		HTTP: cfg.HTTP, HTTPS: cfg.HTTPS, Certs: cfg.Certs, ProxyProtocol: cfg.ProxyProtocol,
		AccessLog: cfg.AccessLog, AccessLogSample: cfg.AccessLogSample, Log: log,
	}
	for _, s := range cfg.TrustProxy {
		prefix, err := netip.ParsePrefix(s)
		if err != nil {
			return out, fmt.Errorf("read configuration: %w", err)
		}
		out.TrustProxy = append(out.TrustProxy, prefix)
	}
	return out, nil
}

// listenUnix listens at a path, where a dead process may have left a socket.
func listenUnix(path string) (*net.UnixListener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	ln.SetUnlinkOnClose(false) // a successor may listen there by then
	return ln, os.Chmod(path, 0o600)
}

// watch counts the balancer's changes and drops windows that nobody closed.
func (s *server) watch(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.proxy.Changed():
			s.bump()
		case <-tick.C:
			s.mu.Lock()
			for key, w := range s.windows {
				if time.Since(w.opened) > windowTime {
					w.Close()
					delete(s.windows, key)
				}
			}
			s.mu.Unlock()
		}
	}
}

// reopenLog opens the access log anew at each SIGHUP, as programs that rotate logs expect it of their writers.
func (s *server) reopenLog(ctx context.Context, hangups <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			if err := s.proxy.ReopenLog(); err != nil {
				s.log.Error("cannot open access log anew", "error", err)
			}
		}
	}
}

func (s *server) bump() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /table", s.putTable)
	mux.HandleFunc("PATCH /table", s.patchTable)
	mux.HandleFunc("PUT /bridge", s.putBridge)
	mux.HandleFunc("GET /status", s.getStatus)
	mux.HandleFunc("PUT /window", s.putWindow)
	mux.HandleFunc("DELETE /window", s.deleteWindow)
	mux.HandleFunc("POST /retire", s.postRetire)
	mux.HandleFunc("GET /traffic", s.getTraffic)
	mux.HandleFunc("GET /failures", s.getFailures)
	return mux
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // a reader that has gone asks again
}

// putTable puts a table in force and answers with the status once it is.
func (s *server) putTable(w http.ResponseWriter, r *http.Request) {
	var t api.RouteTable
	if err := json.NewDecoder(r.Body).Decode(&t); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.taking.Lock()
	defer s.taking.Unlock()
	s.take(&t, r.URL.Query().Get("id"))
	answer(w, s.status())
}

// patchTable puts in force what comes of the table in force with some changes, if that is the one they are meant for.
func (s *server) patchTable(w http.ResponseWriter, r *http.Request) {
	var c change
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	query := r.URL.Query()
	s.taking.Lock()
	defer s.taking.Unlock()
	if s.taken == "" || s.taken != query.Get("base") {
		http.Error(w, "the change is of another table", http.StatusConflict)
		return
	}
	t, err := c.of(s.proxy.Table())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.take(t, query.Get("id"))
	answer(w, s.status())
}

// take puts a table in force, unless there is a newer one; s.taking is held.
func (s *server) take(t *api.RouteTable, id string) {
	s.mu.Lock()
	first := !s.open
	s.open = true
	s.mu.Unlock()
	if first { // handed-over sockets are there by now
		if err := s.proxy.Open(); err != nil {
			s.log.Warn("open ports", "error", err) // it stands in the status and is tried again
		}
	}
	if s.proxy.Apply(t); s.proxy.Table() == t {
		s.taken = id
	}
	s.names.Route(t.Inside) // once the balancer knows what the names lead to
}

// putBridge takes an announcement of who is on the bridge, and answers with the status once names are told by it.
func (s *server) putBridge(w http.ResponseWriter, r *http.Request) {
	var b inside.Bridge
	if err := json.NewDecoder(r.Body).Decode(&b); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.proxy.SetInside(b.Door.String())
	s.names.Announce(b)
	answer(w, s.status())
}

func (s *server) status() Status {
	s.mu.Lock()
	seq, retiring := s.seq, s.retiring
	s.mu.Unlock()
	// Read after the number: what changes in between is told again with a higher one.
	st := Status{BalancerStatus: s.proxy.Status(), Boot: s.boot, Build: s.build, Seq: seq, Ports: s.proxy.Ports(), Retiring: retiring,
		Bridge: s.names.Version()}
	for addr, problem := range s.names.Problems() {
		if st.Problem == nil {
			st.Problem = map[string]string{}
		}
		st.Problem[addr] = problem
	}
	return st
}

// getStatus answers when the status is newer than the number the caller has seen, or after a while.
func (s *server) getStatus(w http.ResponseWriter, r *http.Request) {
	if seen, err := strconv.ParseUint(r.FormValue("seen"), 10, 64); err == nil {
		timer := time.NewTimer(pollTime)
		defer timer.Stop()
		for waiting := true; waiting; {
			s.mu.Lock()
			changed, now := s.changed, s.seq
			s.mu.Unlock()
			if now != seen {
				break
			}
			select {
			case <-changed:
			case <-timer.C:
				waiting = false
			case <-r.Context().Done():
				return
			}
		}
	}
	answer(w, s.status())
}

// putWindow opens the window of a name, unless it is open, and gives what it has counted.
func (s *server) putWindow(w http.ResponseWriter, r *http.Request) {
	name := r.FormValue("name")
	s.mu.Lock()
	win := s.windows[name]
	if win == nil {
		win = &window{s.proxy.Meters().OpenWindow(api.EnvRef{App: r.FormValue("app"), Env: r.FormValue("env")}), time.Now()}
		s.windows[name] = win
	}
	s.mu.Unlock()
	t := win.Read()
	answer(w, Totals{Opened: win.opened.UTC(), Count: t.Count, Releases: t.Releases})
}

func (s *server) deleteWindow(_ http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if win := s.windows[r.FormValue("name")]; win != nil {
		win.Close()
		delete(s.windows, r.FormValue("name"))
	}
}

// postRetire begins the end of this process: another one accepts on the same sockets.
func (s *server) postRetire(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	if !s.retiring {
		s.retiring = true
		close(s.retire)
	}
	s.mu.Unlock()
	answer(w, s.status())
}
