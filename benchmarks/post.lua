-- JSON-RPC as a browser sends it: 13 headers. Arguments after `--`:
--   CASE   balance | chain_id | answer | answer_gzip | question
--   SIZE   calls in one batch (balance), bytes of the answer or of the question
-- Each request asks about another address, so that no cache and no joining of identical
-- requests can answer it. The last line of the output is JSON, for benchmarks/load.py.

local requests, turn = {}, 0

local function call(case, size, n)
  if case == "chain_id" then
    return string.format('{"jsonrpc":"2.0","id":%d,"method":"eth_chainId","params":[]}', n)
  elseif case == "balance" then
    return string.format(
      '{"jsonrpc":"2.0","id":%d,"method":"eth_getBalance","params":["0x%040x","latest"]}', n, n)
  end
  local answer, padding = size, 0
  if case == "question" then answer, padding = 64, size end
  return string.format(
    '{"jsonrpc":"2.0","id":%d,"method":"eth_call","params":[{"to":"0x%040x","data":"0x%064x%s"},"latest"]}',
    n, n, answer, string.rep("0", padding))
end

function init(args)
  local case, size = args[1] or "balance", tonumber(args[2] or "1")
  local headers = {
    ["Content-Type"] = "application/json",
    ["Accept"] = "*/*",
    ["Accept-Language"] = "en-US,en;q=0.9",
    ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    ["Origin"] = "https://app.example.org",
    ["Referer"] = "https://app.example.org/",
    ["Sec-Fetch-Site"] = "cross-site",
    ["Sec-Fetch-Mode"] = "cors",
    ["Sec-Fetch-Dest"] = "empty",
    ["Accept-Encoding"] = "gzip, deflate, br",
    ["Connection"] = "keep-alive",
  } -- and Host and Content-Length, which wrk writes
  if case == "answer" then headers["Accept-Encoding"] = "identity" end
  local variants = (case == "question" and 1) or 512
  for i = 1, variants do
    local body
    if case == "balance" and size > 1 then
      local calls = {}
      for j = 1, size do calls[j] = call(case, size, i * 1000 + j) end
      body = "[" .. table.concat(calls, ",") .. "]"
    else
      body = call(case, size, 100000 + i)
    end
    requests[i] = wrk.format("POST", wrk.path, headers, body)
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"microseconds":%d,"bytes":%d,"errors":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, summary.duration, summary.bytes,
    e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
