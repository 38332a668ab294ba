package cli

import "context"

// Daemon is what the commands about the node itself do. A nil function makes its command say that this program was
// built without it.
type Daemon struct {
	// Up runs a node until ctx ends; containers go on.
	Up func(ctx context.Context, o UpOptions) error
	// Check tells what the machine lacks, everything it looked at, in order.
	Check func(ctx context.Context, o UpOptions) ([]Finding, error)
	// Shutdown stops what a node left running whose ikada does not run itself: tasks and containerd.
	Shutdown func(ctx context.Context, dataDir string) error
	// Reset removes everything that ikada made for the data directory, and that itself. The node must be shut down.
	Reset func(ctx context.Context, dataDir string) error
	// Containerd runs the container daemon that Up starts as a process of its own.
	Containerd func(ctx context.Context, args []string) error
}

// UpOptions says how to run a node.
type UpOptions struct {
	DataDir string
	Listen  string // address of API and registry
	TLSCert string // PEM files of Listen's certificate and key; "" is one of the node's own, plain HTTP on a loopback address
	TLSKey  string
	HTTP    string   // address of the balancer for routes; "" is none
	HTTPS   string   // the same with TLS; "" is :443 where there are Certs, else none
	Certs   string   // directory of certificates
	Node    string   // name of the node; "" is the host's
	Labels  []string // of the node, "zone=a"
	Mirrors []string // "docker.io=https://mirror.example.com"
	Subnet  string   // of the tasks' bridge; "" is chosen
	Debug   bool     // log more

	InsecureHTTP bool // plain HTTP wherever Listen is

	TrustProxy      []string // addresses or networks whose word on the client's address is taken
	ProxyProtocol   bool     // connections from them begin with the PROXY protocol
	AccessLog       string   // file; "" is none
	AccessLogSample int      // one of so many requests
}

// Finding is one thing that Check looked at.
type Finding struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`
	Fatal   bool   `json:"fatal,omitempty"`   // a node cannot run like this
	Problem string `json:"problem,omitempty"` // what is wrong
	Remedy  string `json:"remedy,omitempty"`  // what to do
}
