package api

import "testing"

func TestGrants(t *testing.T) {
	ref := func(app, env string) EnvRef { return EnvRef{App: app, Env: env} }
	for _, c := range []struct {
		grants  Grants
		role    Role
		ref     EnvRef
		allowed bool
	}{
		{Grants{{RoleAdmin, "*"}}, RoleAdmin, ref("shop", "production"), true},
		{Grants{{RoleDeploy, "*"}}, RoleAdmin, ref("shop", "production"), false},
		{Grants{{RoleDeploy, "*"}}, RoleView, ref("shop", "production"), true},
		{Grants{{RoleDeploy, "shop/staging"}}, RoleDeploy, ref("shop", "staging"), true},
		{Grants{{RoleDeploy, "shop/staging"}}, RoleView, ref("shop", "staging-2"), false},
		{Grants{{RoleDeploy, "shop/staging"}}, RoleView, ref("shop2", "staging"), false},
		{Grants{{RoleDeploy, "shop/*"}}, RoleDeploy, ref("shop", "pr-1"), true},
		{Grants{{RoleDeploy, "shop/pr-*"}}, RoleDeploy, ref("shop", "pr-1"), true},
		{Grants{{RoleDeploy, "shop/pr-*"}}, RoleDeploy, ref("shop", "pr"), false},
		{Grants{{RoleView, "*/staging"}}, RoleView, ref("any", "staging"), true},
		{Grants{{RoleView, "*/*"}}, RoleView, ref("any", "thing"), true},
		{Grants{{RoleView, "shop/*"}, {RoleDeploy, "shop/staging"}}, RoleDeploy, ref("shop", "production"), false},
		{Grants{{RoleView, "shop/*"}, {RoleDeploy, "shop/staging"}}, RoleDeploy, ref("shop", "staging"), true},
		{Grants{{"root", "*"}}, RoleView, ref("a", "b"), false},
		{Grants{{RoleAdmin, "shop"}}, RoleView, ref("shop", ""), false},
		{nil, RoleView, ref("a", "b"), false},
	} {
		if got := c.grants.Allow(c.role, c.ref); got != c.allowed {
			t.Errorf("%v: %s on %s: %t", c.grants, c.role, c.ref, got)
		}
	}
	scoped := Grants{{RoleAdmin, "*/*"}, {RoleDeploy, "shop/staging"}}
	if scoped.AllowCluster(RoleView) || !(Grants{{RoleView, "*"}}).AllowCluster(RoleView) || (Grants{{RoleView, "*"}}).AllowCluster(RoleDeploy) {
		t.Error("the cluster is reached by the scope * alone")
	}
	one := Grants{{RoleDeploy, "shop/staging"}}
	if !one.AllowApp(RoleDeploy, "shop") || one.AllowApp(RoleAdmin, "shop") || one.AllowApp(RoleView, "blog") || !one.AllowAny(RoleView) || one.AllowAny(RoleAdmin) {
		t.Errorf("%v: apps", one)
	}
}

func TestGrantValidate(t *testing.T) {
	for _, scope := range []string{"*", "*/*", "shop/staging", "shop/*", "shop/pr-*", "*/staging", "sh*/x", "0/0"} {
		if err := (Grant{RoleView, scope}).Validate(); err != nil {
			t.Errorf("%q: %v", scope, err)
		}
	}
	for _, scope := range []string{"", "shop", "/", "shop/", "/staging", "a/b/c", "Shop/x", "shop/*x", "shop/**", "-a/b", "a b/c", "shop/pr-*\n"} {
		if err := (Grant{RoleView, scope}).Validate(); !IsKind(err, Invalid) {
			t.Errorf("%q: %v", scope, err)
		}
	}
	if err := (Grant{"root", "*"}).Validate(); !IsKind(err, Invalid) {
		t.Errorf("role: %v", err)
	}
}
