package build

import (
	"context"
	"maps"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/builder"
	"github.com/moby/buildkit/frontend/gateway/client"

	"github.com/ikada/ikada/api"
)

// solveDockerfile is the frontend of every build. A Dockerfile that begins with "# syntax=docker/dockerfile:1" asks
// BuildKit to fetch the frontend as an image and to run it; the built-in one is the same program, so it is taken at
// once, with no registry in between. Other syntaxes are refused.
func solveDockerfile(ctx context.Context, c client.Client) (*client.Result, error) {
	return builder.Build(ctx, &builtinSyntax{Client: c})
}

// builtinSyntax is a gateway client that answers a request for Docker's frontend image with the built-in frontend.
type builtinSyntax struct {
	client.Client
	opts map[string]string // nil: the client's own
}

// BuildOpts implements client.Client.
func (s *builtinSyntax) BuildOpts() client.BuildOpts {
	o := s.Client.BuildOpts()
	if s.opts != nil {
		o.Opts = maps.Clone(s.opts)
	} else {
		o.Opts = maps.Clone(o.Opts)
	}
	return o
}

// Solve implements client.Client.
func (s *builtinSyntax) Solve(ctx context.Context, req client.SolveRequest) (*client.Result, error) {
	if req.Frontend == "" {
		return s.Client.Solve(ctx, req)
	}
	source := req.FrontendOpt["source"]
	if !isDockerSyntax(source) {
		return nil, api.FieldError("syntax", source, "docker/dockerfile, which is built in; other frontends are not run")
	}
	opts := maps.Clone(req.FrontendOpt)
	opts["cmdline"] = source // tells the frontend that the syntax was dealt with
	delete(opts, "source")
	return builder.Build(ctx, &builtinSyntax{Client: s.Client, opts: opts})
}

func isDockerSyntax(ref string) bool {
	named, err := reference.ParseNormalizedNamed(strings.TrimSpace(ref))
	if err != nil {
		return false
	}
	switch reference.FamiliarName(named) {
	case "docker/dockerfile", "docker/dockerfile-upstream":
		return true
	}
	return false
}
