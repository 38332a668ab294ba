package session

import (
	"context"
	"fmt"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/moby/buildkit/session/auth"
	"google.golang.org/grpc"

	"github.com/ikada/ikada/api"
)

// dockerHubKey is how Docker's config.json names Docker Hub.
const dockerHubKey = "https://index.docker.io/v1/"

// logins serves the registry logins of Docker's config.json, and of its credential helpers. A login goes to the node
// only for a registry that the build reads from and that asks for one. Tokens are fetched by the node.
type logins struct {
	auth.UnimplementedAuthServer
	file *configfile.ConfigFile
}

func newLogins(dir string) (*logins, error) {
	file, err := config.Load(dir)
	if err != nil {
		return nil, api.Errorf(api.Invalid, "read registry logins: %w", err)
	}
	return &logins{file: file}, nil
}

// Register implements session.Attachable.
func (l *logins) Register(s *grpc.Server) { auth.RegisterAuthServer(s, l) }

// Credentials implements auth.AuthServer.
func (l *logins) Credentials(_ context.Context, req *auth.CredentialsRequest) (*auth.CredentialsResponse, error) {
	host := req.Host
	switch host {
	case "registry-1.docker.io", "docker.io":
		host = dockerHubKey
	}
	c, err := l.file.GetAuthConfig(host)
	if err != nil {
		return nil, fmt.Errorf("read login for registry %s: %w", req.Host, err)
	}
	if c.IdentityToken != "" {
		return &auth.CredentialsResponse{Secret: c.IdentityToken}, nil
	}
	return &auth.CredentialsResponse{Username: c.Username, Secret: c.Password}, nil
}
