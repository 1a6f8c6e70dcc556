local T = ...

T.log_expected = true

T.koda.setup({ cmd = { "no-such-koda-daemon" } })
vim.cmd("Koda hello")
T.expect_notice("no-such-koda-daemon is not installed or not on PATH")
T.expect_notice(":help koda-install")
T.equal(T.koda.state().running, false)

-- One that ends at once says its last words.
T.koda.setup({ cmd = { vim.env.KODA_PYTHON, "-c", "import sys; sys.exit('no such option')" } })
vim.cmd("Koda hello")
T.expect_notice("ended with code 1. Its last words: no such option")
T.equal(T.koda.state().running, false)

local ok, problem = pcall(T.koda.setup, { command = "koda" })
T.equal({ ok, problem }, { false, 'koda: there is no option "command"' })
ok, problem = pcall(T.koda.setup, { cmd = "koda" })
T.equal({ ok, problem }, { false, "koda: cmd must be a table" })
