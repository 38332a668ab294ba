package conformance

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"
	"github.com/summerwind/h2spec/config"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"

	"github.com/ikada/ikada/internal/proxy"
)

// TestH2SpecTLS runs every case of h2spec against the balancer's HTTPS port, where HTTP/2 is negotiated.
func TestH2SpecTLS(t *testing.T) {
	t.Parallel()
	addr, _ := balanceTLS(t, task(t, http.HandlerFunc(pages)))
	runH2Spec(t, addr, config.Config{TLS: true, Insecure: true}, deviations{})
}

// TestWebSocketTLS echoes a message of 10 MB through the HTTPS port.
func TestWebSocketTLS(t *testing.T) {
	t.Parallel()
	addr, roots := balanceTLS(t, task(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader().Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		echo(c)
	})))
	c, _ := dialGorilla(t, gorilla.Dialer{TLSClientConfig: &tls.Config{RootCAs: roots}}, "wss://"+addr)
	m := noise(largeMessage)
	if err := c.WriteMessage(gorilla.BinaryMessage, m); err != nil {
		t.Fatal(err)
	}
	if _, got, err := c.ReadMessage(); err != nil || string(got) != string(m) {
		t.Errorf("%d bytes back, %v", len(got), err)
	}
}

// TestGRPCTLS makes a call of each shape through the HTTPS port.
func TestGRPCTLS(t *testing.T) {
	addr, roots := balanceTLS(t, interopServer(t))
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(roots, "")))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	client := testgrpc.NewTestServiceClient(conn)
	if _, err := client.EmptyCall(ctx, &testgrpc.Empty{}); err != nil {
		t.Errorf("call: %v", err)
	}
	both, err := client.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int32{1, 100_000} {
		err := both.Send(&testgrpc.StreamingOutputCallRequest{ResponseParameters: []*testgrpc.ResponseParameters{{Size: size}}})
		if err != nil {
			t.Fatal(err)
		}
		if m, err := both.Recv(); err != nil || len(m.Payload.Body) != int(size) {
			t.Fatalf("receive: %d bytes, %v", len(m.GetPayload().GetBody()), err)
		}
	}
	if err := both.CloseSend(); err != nil {
		t.Error(err)
	}
}

// balanceTLS is balance for the HTTPS port, with a certificate for 127.0.0.1 that roots trust.
func balanceTLS(t *testing.T, target string) (addr string, roots *x509.CertPool) {
	t.Helper()
	dir := t.TempDir()
	roots = certify(t, dir)
	p, _ := start(t, proxy.Config{HTTPS: "127.0.0.1:0", Certs: dir}, target)
	return p.HTTPSAddr().String(), roots
}

// certify writes a certificate and its key into dir.
func certify(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "conformance"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	both := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...)
	if err := os.WriteFile(filepath.Join(dir, "own.pem"), both, 0o600); err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return roots
}
