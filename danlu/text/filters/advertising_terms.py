"""Phrases that advertising, spam and page furniture are made of, Chinese and English, written for Danlu.

All in small letters. A phrase counts wherever it stands, so each is one that prose seldom holds several of; entries of
`MENU` are whole lines.
"""

CONTACTS = """
    加微信 加我微信 添加微信 微信号 微信同号 微信咨询 加薇信 加v信 加qq qq群 qq咨询 客服qq 扫码 扫一扫 长按识别
    关注公众号 微信公众号 客服热线 咨询热线 服务热线 招商热线
    订购热线 加盟热线 预约热线 统一热线 咨询电话 订购电话 联系电话
    报名电话 客服电话 手机同微信 私信我 私聊我 联系客服 在线客服 一对一咨询
    |call us|call now|call today|call toll|toll free|toll-free|contact us|email us|e-mail us|text us|whatsapp us
    |whatsapp:|telegram:|phone us|give us a call|hotline|1-800-|1-888-|1-877-|reply to this email|visit our website
    |visit our site|follow us on|like us on facebook|our sales team|our customer service
"""
CALLS = """
    点击购买 立即购买 马上购买 点此购买 立即抢购 马上抢购 点击进入 点击查看 点击下载 点击领取 点击链接 点击注册 免费领取
    立即领取 立即注册 马上注册 立即下单 立即咨询 立即预约 马上预约 立即加入 限时优惠 限时抢购 限时特价 限时折扣 限量发售
    火爆热销 火热报名 火爆招商 全国包邮 包邮 优惠券 秒杀 先到先得 名额有限 机会难得 不容错过 欢迎选购 欢迎订购 欢迎来电
    欢迎咨询 在线咨询 在线下单 货到付款 厂家直销 批发价格 最低价 特价促销 清仓 买一送一 加盟电话 诚招代理 招商加盟
    轻松赚钱 日赚 月入过万 月入上万 躺赚 无需经验
    |click here|click below|click the link|click on the link|buy now|buy one get|buy online|order now|order today
    |order online|add to cart|add to basket|shop now|sign up now|sign up today|subscribe now|register now|apply now
    |act now|act today|enroll now|join now|join today|book now|don't miss|limited time|limited offer|special offer
    |special promotion|free trial|free shipping|free gift|free quote|free consultation|money back|money-back
    |satisfaction guaranteed|100% guaranteed|100% free|risk free|risk-free|no obligation|best price|best prices
    |lowest price|lowest prices|discount price|huge discount|big discount|cheap price|download now|get yours
    |get started today|while supplies last|please click|fill out the form|to be removed|removed from our
    |removed from this|our mailing list|future mailings|you are receiving this|wish to receive|to unsubscribe
    |click to unsubscribe|opt-out|earn money|make money|extra income|work from home|work at home|financial freedom
    |get paid|no experience|be your own boss|guaranteed income
"""
SPAM = """
    时时彩 六合彩 百家乐 真人娱乐 娱乐城 博彩 赌场 澳门赌 老虎机 棋牌游戏 彩票平台 彩票网 投注 开奖结果 体育竞彩
    威尼斯人 皇冠体育 代开发票 开发票 办证 刻章 假证 文凭办理 刷单 刷信誉 信用卡套现 套现 无抵押贷款 秒批 小额贷款 网贷
    黑户贷款 成人电影 成人视频 一夜情 裸聊 上门服务 按摩服务 援交 同城约 壮阳 延时喷剂 伟哥 迷药 催情 增大增粗 减肥药
    私家侦探 窃听 外挂 私服
    |online casino|casino bonus|casino games|free spins|slot machine|online slots|online poker|sports betting
    |betting site|no deposit bonus|jackpot|viagra|cialis|levitra|tramadol|xanax|valium|phentermine|online pharmacy
    |no prescription|without prescription|penis enlargement|male enhancement|erectile|weight loss pill|diet pill
    |lose weight fast|payday loan|cash advance|bad credit|debt consolidation|credit repair|low interest rate
    |refinance|mortgage rate|hot girls|sexy girls|xxx|porn|webcam girls|adult dating|escort service|replica watch
    |replica handbags|fake id|buy followers|buy essay|essay writing service|get rich|multi-level|mlm|bulk email
    |million email|nigeria|wire transfer|lottery winner|you have won|forex signals|crypto signals|double your
"""
COOKIES = """
    使用cookie 接受cookie 接受所有cookie cookie设置 cookie政策 管理cookie 同意使用cookie
    |we use cookies|uses cookies|this site uses|accept cookies|accept all|reject all|cookie settings
    |cookie preferences|cookie policy|cookie notice|manage cookies|manage preferences|necessary cookies
    |third-party cookies|tracking cookies|consent to|by continuing to|your browsing experience
"""
MENU = """
    首页 主页 网站首页 关于我们 联系我们 公司简介 产品中心 新闻中心 网站地图 登录 注册 登陆 会员中心 购物车 我的订单
    收藏本站 设为首页 返回顶部 返回首页 上一篇 下一篇 上一页 下一页 更多 查看更多 热门推荐 相关推荐 相关阅读 猜你喜欢
    分享到 友情链接 版权所有 隐私政策 用户协议 帮助中心 免责声明 在线留言 人才招聘 打印本页 关闭窗口
    |home|homepage|about|about us|contact|contact us|login|log in|log out|sign in|sign up|register|my account|search
    |menu|sitemap|site map|help|faq|faqs|privacy|privacy policy|terms|terms of use|terms of service
    |terms and conditions|cart|checkout|wishlist|blog|news|careers|jobs|press|advertise|support|shop|products
    |services|categories|share|tweet|pin it|facebook|twitter|instagram|youtube|linkedin|rss|next|previous|prev|back
    |back to top|top|read more|more|view all|skip to content|subscribe|newsletter|follow us|related posts
    |recent posts|archives|tags|leave a reply|comments
"""


def phrases(table: str) -> tuple[str, ...]:
    """The phrases of a table: those before the first bar stand between spaces, the others between bars."""
    spaced, *barred = table.split("|")
    return (*spaced.split(), *(phrase.strip() for phrase in barred))
