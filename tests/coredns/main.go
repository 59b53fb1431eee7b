// CoreDNS as a cluster runs it, with the plugins that the tests' configuration names and no others: the whole of it takes
// minutes to build.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
)

func main() {
	// In the order in which a question goes through them.
	dnsserver.Directives = []string{"reload", "health", "ready", "errors", "cache", "kubernetes", "forward"}
	coremain.Run()
}
