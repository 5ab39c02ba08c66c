"""How a text is typed, and what it means: what every script and every export is tried with."""
CASES = {  # how it is typed: what it means
    "rock &amp; roll is great": "rock & roll is great", "rock &amp;amp; roll is great": "rock & roll is great",
    "i&#x27;m scared": "i'm scared", "i&#39;m scared": "i'm scared", "i&#039;m scared": "i'm scared",
    "i&amp;#39;m scared": "i'm scared", "i&rsquo;m scared": "i'm scared", "i&#8217;m scared": "i'm scared",
    "&quot;happy&quot; &lt;3": '"happy" <3', "so&nbsp;glad&hellip;": "so glad...", "so&mdash;glad": "so - glad",
    **{f"i feel{blank}sad": "i feel sad" for blank in ("\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x1f", "\x85", "\u2028",
                                                        "\u00a0", "\u3000", "\t", "\r\n")},
    "\uff29 \uff46\uff45\uff45\uff4c \uff33\uff21\uff24": "i feel sad", "happy\uff01 \uff13 days": "happy! 3 days",
    "i\uff07m scared": "i'm scared", "STRA\u1e9eE": "stra\u00dfe", "cafe\u0301 happy": "caf\u00e9 happy",
    "CAFE\u0301 happy": "caf\u00e9 happy", "a\u0300 la carte": "\u00e0 la carte",
    "happy\U0001f600": "happy \U0001f600", "\U0001f600happy\U0001f600\U0001f600": "\U0001f600 happy \U0001f600\U0001f600",
    "I FEEL SAD": "i feel sad", "i\u2019m scared": "i'm scared",
}
