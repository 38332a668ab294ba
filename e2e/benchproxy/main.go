// Command benchproxy measures ikada's balancer beside nginx, HAProxy and a plain httputil.ReverseProxy on this machine,
// in one run. e2e/benchproxy/run.sh installs what it needs and starts it.
//
// Every balancer is a process of its own in front of the same two backends, and gets the same load. Rounds go from one
// balancer to the next and around again, so that a machine that is busy with something else slows them alike. A reply
// that is wrong ends the run: what fails fast is not fast.
//
// Start at run; a measurement is a scenario (scenario.go), and each balancer has a file.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// options are the command line's.
type options struct {
	ikada    string // the program under measurement
	peers    string // comma-separated
	only     string // scenarios, comma-separated; "" is all
	conns    string // numbers of connections, comma-separated
	profiles string // scenarios of which ikada is profiled
	rounds   int    // values behind each median
	duration time.Duration
	idle     int           // connections whose memory is measured
	port     int           // first of the ports that are used
	nice     int           // of everything that runs, on a machine that is busy with something else
	timeout  time.Duration // of the whole
}

func main() {
	if len(os.Args) > 1 {
		var err error
		switch os.Args[1] { // the parts that must be processes of their own
		case "reverseproxy":
			err = serveReverseProxy(os.Args[2:])
		case "echo":
			err = serveEcho(os.Args[2:])
		default:
			err = errors.ErrUnsupported
		}
		if !errors.Is(err, errors.ErrUnsupported) {
			exit(err)
		}
	}
	var o options
	flag.StringVar(&o.ikada, "ikada", "bin/ikada", "the program to measure")
	flag.StringVar(&o.peers, "peers", "nginx,haproxy,reverseproxy,ikada", "what to measure, in this order; pooled is reverseproxy with a BufferPool, direct the backend alone")
	flag.StringVar(&o.only, "only", "", "scenarios to run: "+strings.Join(scenarioNames(), ",")+"; all if empty")
	flag.StringVar(&o.conns, "conns", "64,512", "numbers of connections")
	flag.StringVar(&o.profiles, "profile", "small", "scenarios of which ikada is profiled")
	flag.IntVar(&o.rounds, "rounds", 5, "values behind each median")
	flag.DurationVar(&o.duration, "duration", defaultDuration(), "of one measurement, whole seconds")
	flag.IntVar(&o.idle, "idle", 10000, "idle connections whose memory is measured")
	flag.IntVar(&o.port, "port", 25600, "first of the ports to use")
	flag.IntVar(&o.nice, "nice", -10, "of load, balancers and backends alike: what ikada gives itself, so that all have it")
	flag.DurationVar(&o.timeout, "timeout", 30*time.Minute, "bound of the whole run")
	flag.Parse()
	// A reader that goes away (| head) is a reason to clean up, too.
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGPIPE)
	ctx, stop := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("not done after %s", o.timeout))
	err := run(ctx, o)
	stop()
	cancel()
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchproxy:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// defaultDuration is two seconds unless IKADA_BENCH_SECONDS says another number.
func defaultDuration() time.Duration {
	if n, err := strconv.Atoi(os.Getenv("IKADA_BENCH_SECONDS")); err == nil && n > 0 {
		return time.Duration(n) * time.Second
	}
	return 2 * time.Second
}

// bench is one run.
type bench struct {
	options
	dir    string
	cert   certificate
	peers  []*peer
	origin origin
	report report
}

func run(ctx context.Context, o options) (err error) {
	scenarios, all, err := o.scenarios()
	if err != nil {
		return err
	}
	for _, tool := range []string{"wrk", "h2load", "nginx"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is needed: %w", tool, err)
		}
	}
	if err := portsFree(o.port, o.port+portsUsed); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "ikbp-") // short: sockets in it have at most 107 characters
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &bench{options: o, dir: dir}
	// A file of its own: pages that another instance on the machine shares would not count in full.
	b.ikada = filepath.Join(dir, "ikada")
	if err := copyProgram(b.ikada, o.ikada); err != nil {
		return err
	}
	if b.cert, err = makeCertificate(dir); err != nil {
		return err
	}
	if err := writeScript(dir); err != nil {
		return err
	}
	if b.origin, err = startOrigin(ctx, dir, o.port); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.origin.stop()) }()
	if o.nice != 0 {
		for _, pid := range append(b.origin.leaders(), os.Getpid()) {
			if err := prefer(pid, o.nice); err != nil {
				return err
			}
		}
		// The load's session is the caller's.
		defer func() { err = errors.Join(err, prefer(os.Getpid(), 0)) }()
	}
	if err := b.choosePeers(); err != nil {
		return err
	}
	before := loadAverage()
	defer func() {
		b.report.print(os.Stdout)
		fmt.Printf("\n%d cores, load average %s before and %s after, %s\n", runtime.NumCPU(), before, loadAverage(),
			time.Now().UTC().Format("2006-01-02 15:04 UTC"))
	}()
	for _, s := range scenarios {
		if err := b.measure(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s.title, err)
		}
	}
	if b.asked(profileName) {
		return b.profile(ctx, all)
	}
	return nil
}

// choosePeers takes the balancers that were asked for and are there.
func (b *bench) choosePeers() error {
	all := b.allPeers()
	for name := range strings.SplitSeq(b.options.peers, ",") {
		i := slices.IndexFunc(all, func(p *peer) bool { return p.name == name })
		if i < 0 {
			return fmt.Errorf("-peers: no peer is called %q", name)
		}
		p := all[i]
		if p.program != "" {
			if _, err := exec.LookPath(p.program); err != nil {
				progress("%s is left out: %v", p.name, err)
				b.report.note("%s was left out: %v.", p.name, err)
				continue
			}
		}
		b.peers = append(b.peers, p)
	}
	if len(b.peers) == 0 {
		return errors.New("nothing is left to measure")
	}
	return nil
}

// portsFree finds out whether anything listens where this run is to: else its replies would be measured.
func portsFree(from, to int) error {
	for port := from; port < to; port++ {
		ln, err := net.Listen("tcp", loopback(port))
		if err != nil {
			return fmt.Errorf("-port: %w", err)
		}
		ln.Close()
	}
	return nil
}

// loadAverage tells how busy the machine was, in the kernel's words.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if f := strings.Fields(string(text)); err == nil && len(f) > 2 {
		return strings.Join(f[:3], " ")
	}
	return "unknown"
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, "  "+format+"\n", args...) }

func copyProgram(to, from string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("%w: `make build` makes it", err)
	}
	return os.WriteFile(to, b, 0o755)
}
