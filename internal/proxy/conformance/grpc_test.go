package conformance

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/grpclog"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/orca"

	"github.com/ikada/ikada/internal/proxy"
)

// TestGRPCInterop runs the cases of gRPC's interoperability client against gRPC's interoperability server behind the
// balancer: all but those that need credentials of a cloud, and orca_oob, for which the server must report its load
// more often than every 30 s, as only gRPC's own packages can tell it to. The cases are described in
// doc/interop-test-descriptions.md of github.com/grpc/grpc.
func TestGRPCInterop(t *testing.T) {
	// Not parallel: the logger is one for the process, and a case that fails ends through it.
	failing := &failingLogger{LoggerV2: grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard)}
	grpclog.SetLoggerV2(failing)
	addr := balance(t, proxy.Config{}, interopServer(t))
	for _, options := range []struct {
		name string
		call []grpc.CallOption
	}{{"plain", nil}, {"gzip", []grpc.CallOption{grpc.UseCompressor(gzip.Name)}}} {
		t.Run(options.name, func(t *testing.T) {
			conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithDefaultCallOptions(options.call...),
				// This policy hands the load reports over to the case about them.
				grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"test_backend_metrics_load_balancer": {}}]}`))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			for _, c := range interopCases(addr, conn) {
				t.Run(c.name, func(t *testing.T) {
					failing.t = t
					ctx, cancel := context.WithTimeout(context.Background(), patience)
					defer cancel()
					c.run(ctx)
				})
			}
		})
	}
}

type interopCase struct {
	name string
	run  func(context.Context)
}

func interopCases(addr string, conn *grpc.ClientConn) []interopCase {
	client := testgrpc.NewTestServiceClient(conn)
	on := func(do func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption)) func(context.Context) {
		return func(ctx context.Context) { do(ctx, client) }
	}
	soak := func(ctx context.Context, channel func() (*grpc.ClientConn, func())) {
		interop.DoSoakTest(ctx, interop.SoakTestConfig{
			RequestSize: 271828, ResponseSize: 314159, // those of large_unary, as the client's own defaults
			PerIterationMaxAcceptableLatency: patience, OverallTimeout: patience,
			ServerAddr: addr, NumWorkers: 4, Iterations: 40, ChannelForTest: channel,
		})
	}
	return []interopCase{
		{"empty_unary", on(interop.DoEmptyUnaryCall)},
		{"large_unary", on(interop.DoLargeUnaryCall)},
		{"client_streaming", on(interop.DoClientStreaming)},
		{"server_streaming", on(interop.DoServerStreaming)},
		{"ping_pong", on(interop.DoPingPong)},
		{"empty_stream", on(interop.DoEmptyStream)},
		{"timeout_on_sleeping_server", on(interop.DoTimeoutOnSleepingServer)},
		{"cancel_after_begin", on(interop.DoCancelAfterBegin)},
		{"cancel_after_first_response", on(interop.DoCancelAfterFirstResponse)},
		{"custom_metadata", on(interop.DoCustomMetadata)},
		{"status_code_and_message", on(interop.DoStatusCodeAndMessage)},
		{"special_status_message", on(interop.DoSpecialStatusMessage)},
		{"unimplemented_method", func(context.Context) { interop.DoUnimplementedMethod(context.Background(), conn) }},
		{"unimplemented_service", func(ctx context.Context) {
			interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(conn))
		}},
		{"pick_first_unary", func(ctx context.Context) { interop.DoPickFirstUnary(ctx, client) }},
		{"orca_per_rpc", func(ctx context.Context) { interop.DoORCAPerRPCTest(ctx, client) }},
		{"rpc_soak", func(ctx context.Context) {
			soak(ctx, func() (*grpc.ClientConn, func()) { return conn, func() {} })
		}},
		{"channel_soak", func(ctx context.Context) {
			soak(ctx, func() (*grpc.ClientConn, func()) {
				own, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
				if err != nil {
					grpclog.Fatal(err)
				}
				return own, func() { _ = own.Close() }
			})
		}},
	}
}

// interopServer is what gRPC's interop/server program is, and its address.
func interopServer(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(orca.CallMetricsServerOption(nil))
	testgrpc.RegisterTestServiceServer(server, namedServer{interop.NewTestServer()})
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ln) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

// namedServer adds to gRPC's server in Go what the one in C++ has: its name, when a request asks for it.
type namedServer struct{ testgrpc.TestServiceServer }

// UnaryCall is that of the server within.
func (s namedServer) UnaryCall(ctx context.Context, in *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
	out, err := s.TestServiceServer.UnaryCall(ctx, in)
	if err == nil && in.FillServerId {
		out.ServerId = "a"
	}
	return out, err
}

// failingLogger fails the test at hand where gRPC's logger would end the process, which is how a case tells that it
// failed.
type failingLogger struct {
	grpclog.LoggerV2
	t *testing.T
}

func (l *failingLogger) Fatal(args ...any)                 { l.t.Helper(); l.t.Fatal(args...) }
func (l *failingLogger) Fatalln(args ...any)               { l.t.Helper(); l.t.Fatal(fmt.Sprintln(args...)) }
func (l *failingLogger) Fatalf(format string, args ...any) { l.t.Helper(); l.t.Fatalf(format, args...) }
